#include "core/peer.h"

#include <algorithm>
#include <utility>

namespace mesh {
namespace {

// While a peer is not proven, so that the kernel itself keeps trying; also what the first write of
// it sends at once.
constexpr std::uint16_t kTryingKeepalive = 25;
// Two initiations that cross each other cancel out: the side with the greater key gives the other a
// head start.
constexpr Duration kHeadStart = std::chrono::seconds(1);
// After a kick: for the peer to see that it was heard, and to answer.
constexpr Duration kTimeToAnswer = std::chrono::seconds(2);
constexpr int kResetEvery = 8;  // kicks of a peer that does not answer
// Of a device that was made anew, for a host that has just come up; not at the same time on both
// sides, where both were.
constexpr Duration kFirstPause = std::chrono::seconds(1);
constexpr Duration kFirstPauseOfGreater = std::chrono::milliseconds(1500);
constexpr int kEarlyResets = 2;
constexpr Duration kTimeToLook = std::chrono::milliseconds(20);

}  // namespace

void Peer::set_record(std::shared_ptr<const StoreEntry> entry, MonotonicTime now) {
  record_ = std::move(entry);
  announcement_ = read_announcement(record());
  bad_record_.clear();
  set_gone(false);
  if (decided_ && decision_.path != Path::kPlaintext)
    for (const Cidr& cidr : accepted_.cidrs) withdrawn_.emplace(cidr, now + kGrace);
  for (const Cidr& cidr : record().cidrs) withdrawn_.erase(cidr);
}

void Peer::keep_prefix(const Cidr& cidr, MonotonicTime now) {
  const auto& cidrs = record().cidrs;
  if (std::find(cidrs.begin(), cidrs.end(), cidr) == cidrs.end())
    withdrawn_.emplace(cidr, now + kGrace);
}

void Peer::set_bad_record(std::string why) {
  bad_record_ = std::move(why);
  vanished_until_.reset();
}

bool Peer::let_go(MonotonicTime now) {
  const bool open = decided_ && decision_.path == Path::kPlaintext;
  return std::erase_if(withdrawn_, [&](const auto& item) { return open || item.second <= now; }) !=
         0;
}

NodeClaims Peer::claims() const {
  NodeClaims claims;
  claims.cidrs = record().cidrs;
  claims.addresses = record().addresses;
  for (const Endpoint& endpoint : announcement_.endpoints)
    claims.endpoint_addresses.push_back(endpoint.address);
  if (!gone_) claims.key = announcement_.key;
  for (const auto& [cidr, until] : withdrawn_) {
    claims.cidrs.push_back(cidr);
    claims.yielding.push_back(cidr);
  }
  claims.yields_all = vanished() || gone_;
  claims.blocked = gone_;
  return claims;
}

KeySlot Peer::new_slot(const PublicKey& key, const LocalNode& local, WallTime floor,
                       Instant now) const {
  KeySlot slot;
  slot.key = key;
  slot.health = Health(floor);
  slot.since = now.monotonic;
  slot.next_kick = now.monotonic + (local.key < key ? Duration::zero() : kHeadStart);
  return slot;
}

void Peer::drop_active(MonotonicTime now) {
  if (active_ && (active_->stale || active_->health.proof(now) != Proof::kNever))
    former_ = active_->key;
  active_.reset();
}

void Peer::update_keys(const LocalNode& local, const KeyFacts& facts, Instant now) {
  duplicate_ = facts.duplicate;
  if (!facts.former_receives) {
    former_.reset();
    if (active_) active_->bare = false;
  }
  const bool usable = local.has_wireguard() && announcement_.key && !duplicate_ && !gone_;
  if (!usable) {
    // Without a device there is nothing to prove, but what was proven stays so: the device may come
    // back.
    if (!local.has_wireguard() && announcement_.key && active_ &&
        active_->key == *announcement_.key)
      return;
    drop_active(now.monotonic);
    candidate_.reset();
    fell_back_ = false;
    return;
  }
  const PublicKey& key = *announcement_.key;
  if (active_ && active_->key == key) {
    candidate_.reset();
    return;
  }
  if (candidate_ && candidate_->key == key) return;
  if (!active_ && facts.adopted && *facts.adopted != key) {
    // It changed its key while nobody looked: what runs goes on until the new key is proven.
    active_ = new_slot(*facts.adopted, local, WallTime::min(), now);
    active_->health.assume_proven(facts.adopted_session);
  }
  KeySlot slot = new_slot(key, local, facts.stale ? now.wall : WallTime::min(), now);
  slot.stale = facts.stale;
  if (active_ && active_->health.proof(now.monotonic) != Proof::kNever) {
    candidate_ = std::move(slot);
    return;
  }
  if (facts.adopted == key && !facts.stale) slot.health.assume_proven(facts.adopted_session);
  drop_active(now.monotonic);
  // A key that has shown nothing takes no AllowedIPs from one under which the peer may still send.
  if (former_ == key) former_.reset();
  slot.bare = former_.has_value();
  active_ = std::move(slot);
  candidate_.reset();
  fell_back_ = false;
}

std::set<PublicKey> Peer::keys_in_use() const {
  std::set<PublicKey> keys;
  for (const std::optional<KeySlot>* slot : {&active_, &candidate_})
    if (*slot) keys.insert((*slot)->key);
  return keys;
}

void Peer::start_over(const LocalNode& local, Instant now) {
  for (std::optional<KeySlot>* slot : {&active_, &candidate_})
    if (*slot) **slot = new_slot((*slot)->key, local, now.wall, now);
}

bool Peer::observe(const PublicKey& key, const HealthSample& sample) {
  if (active_ && active_->key == key) {
    const bool changed = active_->health.observe(sample);
    if (active_->health.proof(sample.now.monotonic) == Proof::kProven) active_->bare = false;
    // A session was lost with the device: try at once, not when the last back-off ends.
    if (changed && active_->health.proof(sample.now.monotonic) != Proof::kProven) {
      active_->kicks.reset();
      active_->kicked = 0;
      active_->next_kick = sample.now.monotonic;
    }
    // The peer may have nothing to go by but what I send.
    if (changed && active_->health.revived()) active_->owes_answer = true;
    return changed;
  }
  if (!candidate_ || candidate_->key != key) return false;
  candidate_->health.observe(sample);
  if (candidate_->health.proof(sample.now.monotonic) != Proof::kProven) return false;
  active_ = std::move(candidate_);
  candidate_.reset();
  return true;
}

std::optional<Endpoint> Peer::endpoint_for(const LocalNode& local) const {
  if (!endpoint_problem_.empty()) return std::nullopt;
  for (const Endpoint& endpoint : announcement_.endpoints)
    if (local.has_family(endpoint.address.family())) return endpoint;
  return std::nullopt;
}

bool Peer::may_fall_back(const LocalNode& local) const {
  return mode(local) == Mode::kPrefer && local.fallback_after > Duration::zero();
}

PairFacts Peer::facts(const LocalNode& local, MonotonicTime now) const {
  PairFacts facts;
  facts.local_wireguard = local.has_wireguard();
  facts.local_off = local.withdrawn();
  facts.mode = mode(local);
  facts.record_gone = gone_;
  facts.peer_unsupported = announcement_.unsupported;
  if (announcement_.key) facts.key = duplicate_ ? KeyVerdict::kDuplicate : KeyVerdict::kValid;
  if (!announcement_.key_problem.empty()) facts.key = KeyVerdict::kInvalid;
  facts.has_endpoint = endpoint_for(local).has_value();
  // An address of mine that comes and goes takes nothing from a peer that has proven itself.
  if (endpoint_problem_.empty() && !announcement_.endpoints.empty() && active_ &&
      active_->health.proof(now) != Proof::kNever)
    facts.has_endpoint = true;
  facts.fallback_after = local.fallback_after;
  // A policy that says so is the operator's word, not the peer's.
  facts.peer_off = !policy_.mode && local.mode != Mode::kOff && announcement_.mode == Mode::kOff;
  facts.held = held(local);
  if (!active_) return facts;
  facts.proof = active_->health.proof(now);
  facts.trying_for = now - active_->since;
  facts.unanswered_for = active_->health.unanswered_for(now);
  if (facts.proof == Proof::kNever && fell_back_ && may_fall_back(local)) {
    facts.proof = Proof::kUnanswered;
    facts.unanswered_for = Duration::max();
  }
  // Traffic goes on under the old key, but the one it publishes now has not answered yet.
  if (facts.proof == Proof::kProven && candidate_) facts.proof = Proof::kUnsettled;
  return facts;
}

void Peer::set_policy(PairPolicy policy) {
  policy_ = std::move(policy);
  if (policy_.unreadable.empty())
    weakest_.reset();
  else if (!weakest_ && decided_)
    weakest_ = decided_mode_;
}

Mode Peer::mode(const LocalNode& local) const {
  const Mode wanted = policy_.mode.value_or(pair_mode(local.mode, announcement_.mode));
  return std::max(wanted, weakest_.value_or(Mode::kOff));
}

void Peer::decide(const LocalNode& local, Instant now) {
  const Decision before = decision_;
  decided_mode_ = mode(local);
  if (!policy_.unreadable.empty()) weakest_ = decided_mode_;
  const PairFacts known = facts(local, now.monotonic);
  decision_ = mesh::decide(known);
  if (decision_.reason == Reason::kFallback && !fell_back_) {
    fell_back_ = true;
    active_->health.require_new_proof(now.wall);
  }
  if (decision_.path == Path::kWireguard) fell_back_ = false;
  // A record that became unreadable changes nothing but what is said of it.
  if (!bad_record_.empty() && decision_.reason == Reason::kNone)
    decision_.reason = Reason::kInvalidRecord;
  if (vanished() && decision_.reason == Reason::kNone) decision_.reason = Reason::kNoRecord;
  if (!decided_ || before.state != decision_.state || before.path != decision_.path)
    since_ = now.wall;
  decided_ = true;
  remember(known, now.wall);
}

void Peer::remember(const PairFacts& facts, WallTime now) {
  if (decision_.path == Path::kWireguard) {
    memory_ = {active_->key, std::nullopt};
    return;
  }
  // Where encryption is required, that it is missing is no change of what is sent.
  if (!memory_.proven || memory_.downgrade || facts.mode == Mode::kRequire) return;
  if (const auto cause = withdrawal(facts)) memory_.downgrade = Downgrade{now, *cause, false};
}

bool Peer::allow_downgrade() {
  if (!memory_.downgrade || memory_.downgrade->allowed) return false;
  memory_.downgrade->allowed = true;
  memory_.proven.reset();
  return true;
}

std::vector<std::string> Peer::warnings() const {
  std::vector<std::string> warnings;
  if (!bad_record_.empty())
    warnings.push_back(fmt::format(
        "its record cannot be read, the last good one stays in force: {}", bad_record_));
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(kGrace).count();
  if (vanished())
    warnings.push_back(fmt::format(
        "its record is gone although it had not left: it is sent to as before for {} s", seconds));
  for (const Cidr& cidr : accepted_.cidrs)
    if (withdrawn_.contains(cidr))
      warnings.push_back(
          fmt::format("prefix {} is in its record no more: it keeps it until "
                      "another node claims it, for at most {} s",
                      cidr.to_string(), seconds));
  if (!announcement_.key_problem.empty()) warnings.push_back(announcement_.key_problem);
  if (!endpoint_problem_.empty()) warnings.push_back(endpoint_problem_);
  for (const auto* list : {&record().problems, &announcement_.problems, &accepted_.warnings})
    warnings.insert(warnings.end(), list->begin(), list->end());
  return warnings;
}

// Switching the keepalive on sends one at once. Before its first kick is due a key has none, or
// both sides would start at the same time and cancel each other out.
std::uint16_t Peer::keepalive(const LocalNode& local, const KeySlot& slot) const {
  if (local.withdrawn() || (slot.kicked == 0 && slot.health.unproven())) return 0;
  // Where a policy asks for plaintext the tunnel stays ready, and needs nothing more.
  const bool ready = mode(local) == Mode::kOff && !slot.health.unproven();
  const bool settled = (decision_.state == State::kEncrypted || ready) && &slot == &*active_;
  return settled || local.keepalive != 0 ? local.keepalive : kTryingKeepalive;
}

DesiredPeer Peer::desired_peer(const LocalNode& local, const KeySlot& slot) const {
  DesiredPeer peer;
  peer.node = name_;
  peer.endpoint = endpoint_for(local);
  peer.keepalive = keepalive(local, slot);
  if (slot.bare || &slot != &*active_) return peer;
  peer.allowed_ips = accepted_.cidrs;
  for (const IpAddress& address : accepted_.addresses)
    peer.allowed_ips.push_back(Cidr::host(address));
  std::sort(peer.allowed_ips.begin(), peer.allowed_ips.end());
  peer.allowed_ips.erase(std::unique(peer.allowed_ips.begin(), peer.allowed_ips.end()),
                         peer.allowed_ips.end());
  return peer;
}

bool Peer::set_path(std::optional<MeasuredPath> path) {
  if (path_ == path && adopted_mtu_ == RouteMtu{}) return false;
  path_ = path;
  adopted_mtu_ = {};
  return true;
}

void Peer::adopt_route_mtu(Family family, std::uint32_t mtu) {
  (family == Family::kIpv4 ? adopted_mtu_.ipv4 : adopted_mtu_.ipv6) = mtu;
}

RouteMtu Peer::route_mtu(const LocalNode& local) const {
  if (local.mtu_fixed) return {};
  if (path_) return mesh::route_mtu(*path_, local.mtu, local.backend);
  const auto narrower = [&](std::uint32_t mtu) { return mtu < local.mtu ? mtu : 0; };
  return {narrower(adopted_mtu_.ipv4), narrower(adopted_mtu_.ipv6)};
}

Contribution Peer::contribution(const LocalNode& local) const {
  Contribution contribution;
  if (local.has_wireguard()) {
    for (const std::optional<KeySlot>* slot : {&active_, &candidate_})
      if (*slot) contribution.peers[(*slot)->key] = desired_peer(local, **slot);
  }
  // What nothing goes to is guarded too, whatever closed it.
  const bool required = mode(local) == Mode::kRequire || decision_.path == Path::kDrop;
  const RouteMtu mtu = route_mtu(local);
  for (const Cidr& cidr : accepted_.cidrs) {
    add_workload_routes(local, cidr, decision_.path, mtu, contribution.routes);
    Accounting::Prefix& prefix = contribution.prefixes[cidr];
    prefix.node = name_;
    prefix.workload = true;
    prefix.required = required;
    prefix.blocked = decision_.path == Path::kDrop;
  }
  for (const IpAddress& address : accepted_.addresses) {
    Accounting::Prefix& prefix = contribution.prefixes[Cidr::host(address)];
    prefix.node = name_;
    prefix.address = true;
    prefix.closed = decision_.path != Path::kPlaintext;
    prefix.required = required;
    prefix.encrypted_host = covers_hosts(local) && decision_.path == Path::kWireguard;
    prefix.required_host = covers_hosts(local) && required;
    add_host_routes(local, address, contribution.routes);
  }
  return contribution;
}

// Never a reject route here: it would make the reverse-path check refuse the underlay's own
// packets.
void Peer::add_host_routes(const LocalNode& local, const IpAddress& address,
                           std::vector<Route>& routes) const {
  if (decision_.path != Path::kWireguard || local.device_index == 0 ||
      !local.carries(address.family()))
    return;
  Route route;
  route.key = {local.table_h, Cidr::host(address), base_metric(address.family())};
  route.oif = local.device_index;
  route.set_mtu(route_mtu(local).of(address.family()));
  routes.push_back(route);
  if (!covers_hosts(local)) return;
  route.key.table = local.table_t;
  route.preferred_source = local.host_source(address.family());
  routes.push_back(route);
}

std::vector<Peer::Kick> Peer::due_kicks(const LocalNode& local, Instant now) {
  std::vector<Kick> kicks;
  if (local.withdrawn()) return kicks;
  for (std::optional<KeySlot>* held : {&active_, &candidate_}) {
    if (!*held) continue;
    KeySlot& slot = **held;
    const Proof proof = slot.health.proof(now.monotonic);
    if (proof == Proof::kProven) {
      slot.kicked = 0;
      slot.kicks.reset();
      if (std::exchange(slot.owes_answer, false)) kicks.push_back({slot.key});
      continue;
    }
    if (now.monotonic < slot.next_kick) continue;
    // Whoever hears one of my kicks sends under that session from then on: it is not thrown away
    // before the peer had the time to, twice, and I to look.
    Kick kick{slot.key};
    kick.reset = slot.kicked >= 2 && slot.health.stuck(now, slot.last_kick + kTimeToAnswer);
    // The device has heard nothing, and what is sent to a peer that was proven waits for a session
    // or is lost. WireGuard tries again after five seconds, unless the peer is made anew, if
    // nothing was heard until now.
    const bool early = proof == Proof::kUnsettled && slot.kicked > 0 &&
                       slot.kicked <= kEarlyResets && slot.health.mute();
    const bool seen = slot.health.sampled_at() >= slot.asked.value_or(now.monotonic);
    if (early && !seen && !slot.asked) {
      slot.asked = now.monotonic;
      slot.next_kick = now.monotonic + kTimeToLook;
      kick.look = true;
      kicks.push_back(kick);
      continue;
    }
    slot.asked.reset();
    kick.early_reset = early && seen;
    if (proof == Proof::kUnanswered) {
      // In stages, for this pair alone: the packets may go to an address it has left, and its
      // sessions may be beyond repair.
      kick.endpoint = slot.kicked % 2 == 1;
      kick.reset = kick.reset || slot.kicked % kResetEvery == 2;
    }
    kicks.push_back(kick);
    ++slot.kicked;
    slot.last_kick = now.monotonic;
    Duration pause = local.key < slot.key ? kFirstPause : kFirstPauseOfGreater;
    if (proof != Proof::kUnsettled || slot.kicked != 1) pause = slot.kicks.next();
    slot.next_kick = now.monotonic + pause;
  }
  return kicks;
}

std::optional<MonotonicTime> Peer::deadline(const LocalNode& local, MonotonicTime now) const {
  std::optional<MonotonicTime> earliest;
  const auto consider = [&](std::optional<MonotonicTime> time) {
    if (time && *time > now && (!earliest || *time < *earliest)) earliest = time;
  };
  consider(vanished_until_);
  for (const auto& [cidr, until] : withdrawn_) consider(until);
  for (const std::optional<KeySlot>* slot : {&active_, &candidate_}) {
    if (!*slot) continue;
    const Proof proof = (*slot)->health.proof(now);
    consider((*slot)->health.deadline());
    // Without a device, or with my key withdrawn, nothing is tried, and nothing is due.
    if (proof != Proof::kProven && local.device_index != 0 && !local.withdrawn())
      consider(std::max((*slot)->next_kick, now + Duration(1)));
    if (proof == Proof::kNever) consider((*slot)->since + kHandshakePatience);
    if (proof == Proof::kUnanswered && local.fallback_after > Duration::zero())
      consider(now + local.fallback_after - (*slot)->health.unanswered_for(now));
  }
  return earliest;
}

}  // namespace mesh
