// The store goes away, or somebody damages node-b's record in it.
#include <cstdio>

#include "faults/bench.h"
#include "faults/damage.h"

namespace mesh::lab {
namespace {

std::shared_ptr<std::string> text_of(Bench& bench) {
  return std::static_pointer_cast<std::string>(bench.kept);
}

// The owner puts its record back; nobody acts on the damaged one.
Fault record(const std::string& name, Fault::Step inject) {
  Fault fault;
  fault.name = name;
  fault.group = Group::kRepair;
  fault.set_up = [](Bench& bench) {
    bench.kept = std::make_shared<std::string>(bench.lab().store().read("node-b"));
  };
  fault.inject = std::move(inject);
  fault.repaired = [](Bench& bench) {
    return bench.lab().store().read("node-b") == *text_of(bench);
  };
  return fault;
}

void move_store(Bench& bench, bool away) {
  const std::string here = bench.lab().store().path();
  const std::string there = here + ".away";
  check(std::rename((away ? here : there).c_str(), (away ? there : here).c_str()),
        "move the store");
}

bool in_sync(Bench& bench, bool wanted) {
  for (const char* name : {"node-a", "node-b", "node-c"}) {
    const auto sample = bench.watch().latest(name);
    if (!sample || sample->in_sync != wanted) return false;
  }
  return true;
}

Fault store_away(const std::string& name, unsigned probes) {
  Fault fault;
  fault.name = name;
  fault.group = Group::kPlanned;
  fault.inject = [](Bench& bench) {
    move_store(bench, true);
    if (!wait_until([&] { return in_sync(bench, false); }, milliseconds(20'000)))
      fail("a store that is away is not noticed");
  };
  fault.lasts = probes;
  fault.end = [](Bench& bench) { move_store(bench, false); };
  fault.repaired = [](Bench& bench) { return in_sync(bench, true); };
  return fault;
}

Fault restart_without_store() {
  Fault fault = store_away("meshd restarted while the store is away", 200);
  fault.inject = [](Bench& bench) {
    move_store(bench, true);
    bench.b().restart();
  };
  return fault;
}

void corrupt(Bench& bench) { bench.lab().store().write("node-b", "name: [node-b\n\t}: \x01\n"); }
void truncate(Bench& bench) { write_file(bench.lab().store().file_of("node-b"), ""); }
void remove(Bench& bench) { bench.lab().store().remove("node-b"); }
void overwrite_key(Bench& bench) {
  bench.lab().store().set_annotation("node-b", "meshd.io/wireguard-public-key", fresh_public_key());
}
void overwrite_prefix(Bench& bench) {
  std::string text = *text_of(bench);
  const auto at = text.find("10.2.0.0/24");
  if (at == std::string::npos) fail("no prefix in the record:\n{}", text);
  bench.lab().store().write("node-b", text.replace(at, 11, "10.66.0.0/24"));
}

}  // namespace

std::vector<Fault> store_faults() {
  return {
      store_away("store away for 30 s", 6000),
      restart_without_store(),
      record("record corrupted", corrupt),
      record("record truncated", truncate),
      record("record deleted", remove),
      record("key overwritten by somebody", overwrite_key),
      record("prefixes overwritten by somebody", overwrite_prefix),
  };
}

}  // namespace mesh::lab
