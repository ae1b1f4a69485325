#include "meshd/dataplane/wireguard_kernel.h"

#include <linux/genetlink.h>
#include <linux/wireguard.h>

#include "meshd/dataplane/wireguard_changes.h"
#include "meshd/dataplane/wireguard_codec.h"

namespace mesh {
namespace {

Result<std::uint16_t> find_family(NetlinkSocket& socket) {
  NetlinkMessage request(GENL_ID_CTRL, 0);
  genlmsghdr header{};
  header.cmd = CTRL_CMD_GETFAMILY;
  header.version = 1;
  request.put_header(header);
  request.put_string(CTRL_ATTR_FAMILY_NAME, WG_GENL_NAME);  // loads the module where it is allowed
  std::uint16_t family = 0;
  const Result<void> asked = socket.query(request, [&](const nlmsghdr& message) -> Result<void> {
    AttributeReader reader(attributes_of(message, GENL_HDRLEN));
    while (const auto attribute = reader.next())
      if (attribute->type == CTRL_ATTR_FAMILY_ID)
        family = attribute->as<std::uint16_t>().value_or(0);
    return {};
  });
  if (!asked && asked.error().code != ErrorCode::kNotFound) return asked.error();
  if (family == 0)
    return make_error(ErrorCode::kUnsupported,
                      "this kernel has no WireGuard (load the module: modprobe wireguard)");
  return family;
}

}  // namespace

Result<std::unique_ptr<WireguardKernel>> WireguardKernel::open(std::string name) {
  Result<NetlinkSocket> socket = NetlinkSocket::open(NETLINK_GENERIC);
  if (!socket) return socket.error();
  const Result<std::uint16_t> family = find_family(*socket);
  if (!family) return family.error();
  return std::unique_ptr<WireguardKernel>(
      new WireguardKernel(std::move(*socket), *family, std::move(name)));
}

Error WireguardKernel::explain(const Error& error, std::string_view act) const {
  Error explained = error.at(fmt::format("{} {}", act, name_));
  if (error.code == ErrorCode::kUnsupported)
    explained.message += " (a link of this name exists and is not WireGuard)";
  return explained;
}

Result<WgDevice> WireguardKernel::read() {
  auto device = retry_interrupted([&]() -> Result<WgDevice> {
    NetlinkMessage request = encode_get_device({family_, name_});
    WgDeviceDecoder decoder;
    const Result<void> read =
        socket_.dump(request, [&](const nlmsghdr& message) { return decoder.add(message); });
    socket_.wipe_buffer();  // the kernel sends the private key along
    if (!read) return read.error();
    return std::move(decoder).finish();
  });
  if (!device) return explain(device.error(), "read WireGuard device");
  return device;
}

Result<void> WireguardKernel::configure(const WgDeviceChange& change, const PrivateKey* key) {
  if (change.set_private_key && key == nullptr)
    return make_error(ErrorCode::kInternal, "set the private key of {}: no key given", name_);
  NetlinkMessage request = encode_device({family_, name_}, change, key);
  const Result<void> result = socket_.transact(request);
  if (result) return {};
  Error error = explain(result.error(), "configure WireGuard device");
  if (error.code == ErrorCode::kBusy && change.listen_port)
    error.message +=
        fmt::format(" (UDP port {} is in use: stop what uses it, or set wireguard.listenPort)",
                    *change.listen_port);
  return error;
}

std::vector<Result<void>> WireguardKernel::change_peers(std::span<const WgPeerChange> changes) {
  return apply_changes(
      {.read = [this] { return read(); }, .send = [this](auto part) { return send(part); }},
      changes);
}

// The kernel stops at a message's first bad peer, so its error stands for all of that message.
std::vector<Result<void>> WireguardKernel::send(std::span<const WgPeerChange> changes) {
  std::vector<WgPeerMessage> parts = encode_peers({family_, name_}, changes);
  std::vector<NetlinkMessage> messages;
  messages.reserve(parts.size());
  for (WgPeerMessage& part : parts) messages.push_back(std::move(part.message));
  const std::vector<Result<void>> sent = socket_.transact(messages);

  std::vector<Result<void>> results(changes.size());
  for (std::size_t i = 0; i < parts.size(); ++i)
    if (!sent[i])
      for (std::size_t change = parts[i].first; change <= parts[i].last; ++change)
        if (results[change])
          results[change] = explain(
              sent[i].error(),
              fmt::format("change peer {} of WireGuard device", changes[change].key.abbreviated()));
  return results;
}

}  // namespace mesh
