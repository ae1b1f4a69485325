// From configuration and kernel to LocalNode: what this node is. Free of I/O but for what the data
// plane is asked.
#pragma once

#include <string>
#include <vector>

#include "core/local_node.h"
#include "core/mirror.h"
#include "mesh/dataplane.h"
#include "mesh/node_record.h"
#include "meshd/daemon/config.h"
#include "meshd/daemon/problems.h"

namespace mesh {

// The parts that only the configuration decides.
LocalNode local_from_config(const Config& config);

// The underlay addresses when the configuration names none: the global ones of the interface with
// the default route. kNotFound, with the remedy, when there is no default route.
Result<std::vector<IpAddress>> default_addresses(Dataplane& dataplane, const Mirror& mirror);

// The same, found again when an address came or went, and now and then: the main table may be large
// and has no events here. What cannot be found is a problem, and the last answer holds meanwhile.
class UnderlayAddresses {
 public:
  UnderlayAddresses(Dataplane& dataplane, Problems& problems)
      : dataplane_(dataplane), problems_(problems) {}
  std::vector<IpAddress> find(const Mirror& mirror, const std::vector<IpAddress>& last,
                              MonotonicTime now);

 private:
  Dataplane& dataplane_;
  Problems& problems_;
  std::set<LocalAddress> searched_;
  MonotonicTime again_{};
};

// Where this node's record is its Kubernetes Node: its podCIDRs are this node's prefixes, whatever
// the configuration says, for they are what the peers read; so are its addresses, those of them
// that this host has, where the configuration names none. `own`: null while the Node is not known;
// then `last` holds.
void fill_from_node_object(LocalNode& local, const NodeRecord* own, const LocalNode& last,
                           const Mirror& mirror, Problems& problems);

// Fills what depends on the links and addresses of this host: host_addresses, the device's MTU, the
// underlay's links.
void fill_from_links(LocalNode& local, const Config& config, const Mirror& mirror);

}  // namespace mesh
