#include "meshd/dataplane/wireguard_changes.h"

#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <unordered_map>
#include <unordered_set>

#include "meshd/dataplane/errors.h"

namespace mesh {
namespace {

// Where one prefix is, as far as `changes` have been followed.
struct Place {
  std::optional<PublicKey> holder;
  std::optional<std::size_t> removed_by;  // the change that asked last, when nothing undid it
};

using Places = std::unordered_map<Cidr, Place>;

Places places_of_removals(std::span<const WgPeerChange> changes, const WgDevice& now) {
  Places places;
  for (const WgPeerChange& change : changes)
    if (!change.remove)
      for (const Cidr& prefix : change.remove_allowed_ips) places.try_emplace(prefix);
  if (places.empty()) return places;
  for (const WgPeer& peer : now.peers)
    for (const Cidr& prefix : peer.allowed_ips)
      if (const auto place = places.find(prefix); place != places.end())
        place->second.holder = peer.key;
  return places;
}

void follow(const WgPeerChange& change, std::size_t index, Places& places,
            std::unordered_set<PublicKey>& peers) {
  if (change.remove) {
    peers.erase(change.key);
    for (auto& [prefix, place] : places)
      if (place.holder == change.key) place = {};
    return;
  }
  if (change.update_only && !peers.contains(change.key)) return;
  peers.insert(change.key);
  for (const Cidr& prefix : change.remove_allowed_ips) {
    Place& place = places.at(prefix);
    if (place.holder == change.key) place.removed_by = index;
  }
  for (const Cidr& prefix : change.add_allowed_ips)
    if (const auto place = places.find(prefix); place != places.end())
      place->second = {change.key, std::nullopt};
}

// The error is of the device, the permission or the other side: trying peers one by one would only
// say the same again, slowly.
bool concerns_every_peer(const Error& error) {
  switch (error.code) {
    case ErrorCode::kNotFound:
    case ErrorCode::kPermission:
    case ErrorCode::kUnavailable:
    case ErrorCode::kTimeout:
      return true;
    default:
      return false;
  }
}

std::vector<Result<void>> send_or_isolate(const ChangeBackend& backend,
                                          std::span<const WgPeerChange> changes) {
  std::vector<Result<void>> results = backend.send(changes);
  if (changes.size() < 2) return results;
  for (std::size_t i = 0; i < results.size(); ++i)
    if (!results[i] && !concerns_every_peer(results[i].error()))
      results[i] = backend.send(changes.subspan(i, 1)).front();
  return results;
}

}  // namespace

std::vector<std::uint16_t> keepalives_of_kick(const WgPeerChange& change) {
  const std::uint16_t wanted = change.keepalive.value_or(kKickKeepalive);
  if (wanted == 0) return {kKickKeepalive, 0};
  return {wanted};
}

Removal plan_removal(std::span<const WgPeerChange> changes, const WgDevice& now,
                     const PublicKey& dummy_key) {
  Places places = places_of_removals(changes, now);
  if (places.empty()) return {};
  std::unordered_set<PublicKey> peers;
  for (const WgPeer& peer : now.peers) peers.insert(peer.key);
  for (std::size_t i = 0; i < changes.size(); ++i) follow(changes[i], i, places, peers);

  Removal removal;
  WgPeerChange take;
  take.key = dummy_key;
  for (const auto& [prefix, place] : places) {
    if (!place.removed_by) continue;
    take.add_allowed_ips.push_back(prefix);
    removal.asked_by.push_back(*place.removed_by);
  }
  if (take.add_allowed_ips.empty()) return {};
  std::sort(take.add_allowed_ips.begin(), take.add_allowed_ips.end());
  std::sort(removal.asked_by.begin(), removal.asked_by.end());
  removal.asked_by.erase(std::unique(removal.asked_by.begin(), removal.asked_by.end()),
                         removal.asked_by.end());
  WgPeerChange leave;
  leave.key = dummy_key;
  leave.remove = true;
  removal.dummy = {std::move(take), std::move(leave)};
  return removal;
}

Result<PublicKey> make_dummy_key() {
  std::array<std::uint8_t, PublicKey::kSize> bytes{};
  if (getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
    return error_from_errno(errno, "read random bytes");
  return PublicKey(bytes);
}

std::vector<Result<void>> apply_changes(const ChangeBackend& backend,
                                        std::span<const WgPeerChange> changes) {
  if (changes.empty()) return {};
  const bool removes = std::any_of(changes.begin(), changes.end(), [](const WgPeerChange& change) {
    return !change.remove && !change.remove_allowed_ips.empty();
  });
  if (!removes) return send_or_isolate(backend, changes);

  const Result<WgDevice> now = backend.read();
  if (!now) return std::vector<Result<void>>(changes.size(), now.error());
  const Result<PublicKey> dummy_key = make_dummy_key();
  if (!dummy_key) return std::vector<Result<void>>(changes.size(), dummy_key.error());
  const Removal removal = plan_removal(changes, *now, *dummy_key);

  std::vector<WgPeerChange> all(changes.begin(), changes.end());
  all.insert(all.end(), removal.dummy.begin(), removal.dummy.end());
  std::vector<Result<void>> results = send_or_isolate(backend, all);
  for (std::size_t i = changes.size(); i < all.size(); ++i)
    if (!results[i])
      for (const std::size_t asker : removal.asked_by)
        if (results[asker]) results[asker] = results[i].error().at("remove AllowedIPs");
  results.resize(changes.size());
  return results;
}

}  // namespace mesh
