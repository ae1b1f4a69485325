// The guard: holds every pair that must encrypt closed before meshd has decided anything, from the
// configuration and the last snapshot alone.
//
// It only adds: rules, `unreachable` routes and nftables elements of required pairs, as meshd
// itself would while their peers are not proven, so that meshd adopts them. What is there already,
// a running data path above all, it leaves alone; running it again writes nothing. It makes no
// device, touches no link, asks no store and needs no network. Blocks for some milliseconds.
#pragma once

#include <string>
#include <vector>

#include "mesh/dataplane.h"
#include "meshd/daemon/config.h"
#include "meshd/store/snapshot.h"

namespace mesh {

struct GuardOutcome {
  std::vector<std::string> closed;  // the nodes whose pair with this one must encrypt
  std::size_t operations = 0;       // that were needed
  std::vector<std::string> failed;  // what could not be done, and why
  std::string warning;              // what is not closed although it should be; "": nothing
};

// What the guard writes into this kernel; nothing where all is so already. kPermission and other
// errors of reading the kernel.
Result<GuardOutcome> hold_closed(Dataplane& dataplane, const Config& config,
                                 const Snapshot& snapshot, const PublicKey& own_key, Instant now);

}  // namespace mesh
