// ping(): one ICMP echo from a namespace, and who answered. Needs no program; any thread.
#pragma once

#include <optional>

#include "lab/namespace.h"
#include "lab/wait.h"
#include "mesh/ip.h"

namespace mesh::lab {

struct Echo {
  bool answered = false;
  milliseconds after{0};
};

// Sends once and waits up to `timeout` times patience(). A local refusal (no route) is no answer.
// `source`, where given, must be an address of the namespace.
Echo ping(const NetworkNamespace& from, const IpAddress& target, milliseconds timeout,
          const std::optional<IpAddress>& source = std::nullopt);

}  // namespace mesh::lab
