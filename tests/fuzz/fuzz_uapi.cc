// The reader of a userspace WireGuard's answers.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "meshd/dataplane/uapi_codec.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  mesh::UapiDecoder decoder;
  while (!rest.empty() && !decoder.done()) {
    const std::size_t end = rest.find('\n');
    if (end == std::string_view::npos) break;
    if (!decoder.add(rest.substr(0, end))) return 0;
    rest.remove_prefix(end + 1);
  }
  const auto device = std::move(decoder).finish();
  if (!device) return 0;
  for (const mesh::WgPeer& peer : device->peers)
    if (peer.last_handshake && *peer.last_handshake <= mesh::WallTime()) std::abort();
  return 0;
}
