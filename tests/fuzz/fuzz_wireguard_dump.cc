// The decoder of the kernel's WireGuard dumps. The input is one or more netlink messages as they
// come in a receive buffer.
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "meshd/dataplane/wireguard_codec.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > 256 * 1024) return 0;
  std::vector<std::uint8_t> buffer(data, data + size);  // aligned, and exactly as long as its input
  mesh::WgDeviceDecoder decoder;
  mesh::MessageReader reader(buffer);
  while (const nlmsghdr* message = reader.next())
    if (!decoder.add(*message)) return 0;
  const auto device = std::move(decoder).finish();
  if (!device) return 0;
  for (const mesh::WgPeer& peer : device->peers)
    for (const mesh::Cidr& prefix : peer.allowed_ips)
      if (prefix.length() > mesh::address_bits(prefix.family())) std::abort();
  return 0;
}
