// huge_etcd PORT BYTES: a ScriptedEtcd whose every answer has so many bytes, in a process of its
// own, so that a test can measure what its client keeps of them.
#include <cstdlib>
#include <thread>

#include "store/scripted_etcd.h"

int main(int argc, char** argv) {
  using mesh::testing::ScriptedEtcd;
  if (argc != 3) return 2;
  const auto port = static_cast<std::uint16_t>(std::strtoul(argv[1], nullptr, 10));
  const std::size_t bytes = std::strtoul(argv[2], nullptr, 10);
  ScriptedEtcd::Script script;
  script.range = [bytes](const auto&, auto& response) { ScriptedEtcd::huge(bytes, response); };
  const ScriptedEtcd etcd(script, port);
  while (true) std::this_thread::sleep_for(std::chrono::hours(1));
}
