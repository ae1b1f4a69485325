#include "core/planner.h"

#include <algorithm>
#include <array>

namespace mesh {
namespace {

// The order of acts. Within a step, the order of planning stays.
enum Step {
  kRuleset,       // the nftables table, before the device listens on a port that it redirects to
  kDevice,        // key, port, fwmark, addresses, MTU, up
  kCounting,      // nftables: guards and counters stand before the traffic they watch
  kStopSending,   // routes away from the device, before the peer there loses anything
  kPeers,         // AllowedIPs move to their new owner in one step
  kGuards,        // what drops when the device vanishes, under the routes to come
  kStartSending,  // routes into the device, after the peer can receive
  kClosing,       // hosts that are sent to through the mesh: from now on by no other way
  kHandshakes,    //
  kRules,         // last: they turn the tables on
  kClearing,      // what nothing uses any more
  kOldTables,     // routes of tables that no rule leads to any more
  kStepCount,
};

// Nobody's operations, and not the device's either: counting may fail without holding up the
// encryption of a peer. No node has this name.
constexpr char kNftables[] = "inet meshd";

class Planner {
 public:
  Planner(const Desired& desired, const Mirror& mirror, const Touched& touched,
          const Requests& requests, const PlanLimits& limits)
      : desired_(desired),
        mirror_(mirror),
        touched_(touched),
        requests_(requests),
        limits_(limits) {}

  Plan run() {
    if (desired_.device().present && mirror_.device()) plan_device();
    plan_link_settings();
    plan_nftables();
    if (mirror_.device()) plan_peers();
    plan_routes();
    plan_rules();
    Plan plan;
    const auto take = [&](Step which) {
      Plan& step = steps_[which];
      std::move(step.begin(), step.end(), std::back_inserter(plan));
      step.clear();
    };
    const bool closed_first = leaks_now();
    for (int step = 0; step < kStepCount; ++step) {
      if (step == kPeers && closed_first) {
        take(kGuards);
        take(kRules);
      }
      take(static_cast<Step>(step));
    }
    return plan;
  }

 private:
  void add(Step step, std::string node, Act act) {
    steps_[step].push_back({std::move(node), std::move(act)});
  }

  // What belongs into the device leaves in plaintext, for the tables are empty and nothing leads
  // there: a host that was started again and remembers its peers. Nothing is lost by closing the
  // way before anything can be received, and the answer to the first packet would leak.
  bool leaks_now() const {
    if (steps_[kRules].empty()) return false;
    return std::any_of(desired_.routes().begin(), desired_.routes().end(), [&](const auto& item) {
      const auto& [key, want] = item;
      return want.route.type == RouteType::kUnicast && !mirror_.routes().contains(key);
    });
  }

  void plan_device() {
    const DesiredDevice& want = desired_.device();
    const WgDevice& have = *mirror_.device();
    WgDeviceChange change;
    change.set_private_key = have.public_key != want.key;
    if (have.listen_port != want.listen_port) change.listen_port = want.listen_port;
    if (have.fwmark != want.fwmark) change.fwmark = want.fwmark;
    if (change != WgDeviceChange{}) add(kDevice, "", ConfigureDevice{change});

    std::set<IpAddress> present;
    for (const LocalAddress& address : mirror_.addresses())
      if (address.ifindex == have.ifindex && !address.address.is_link_local())
        present.insert(address.address);
    const Link* link = mirror_.link(want.nft.device);
    const bool wrong_mtu = link != nullptr && want.mtu != 0 && link->mtu != want.mtu;
    const bool down = link != nullptr && !link->up;
    // The MTU first: raising it afterwards would not bring back IPv6 addresses that a small one
    // removed.
    if (wrong_mtu) add(kDevice, "", ConfigureLink{want.mtu, false});
    for (const IpAddress& address : want.addresses)
      if (!present.contains(address)) add(kDevice, "", AddAddress{address});
    if (down) add(kDevice, "", ConfigureLink{0, true});
    if (!limits_.may_remove) return;
    for (const IpAddress& address : present)
      if (!want.addresses.contains(address)) add(kClearing, "", RemoveAddress{address});
  }

  void plan_link_settings() {
    for (const LinkSetting& want : desired_.device().link_settings) {
      const auto in_force = mirror_.link_setting(want.link, want.sysctl);
      if (in_force && !will_do(want, *in_force)) add(kDevice, "", SetLinkSysctl{want});
    }
  }

  void plan_nftables() {
    if (!limits_.nftables) return;
    // Sets that are there stay: a guard that is emptied, for however short a while, lets through
    // what only it holds back.
    if (!mirror_.ruleset_installed())
      add(kRuleset, kNftables, InstallRuleset{desired_.device().nft, mirror_.has_sets()});
    const bool everything = touched_.everything || !mirror_.has_sets();
    const auto& want = desired_.elements();
    const std::set<NftElement> none;
    const auto& have = mirror_.has_sets() ? mirror_.elements() : none;
    const auto plan_element = [&](const NftElement& element) {
      const auto wanted = want.find(element);
      const bool present = have.contains(element);
      if (wanted == want.end() && present) removed_elements_.push_back(element);
      if (wanted != want.end() && !present) added_elements_.push_back(element);
    };
    std::set<NftElement> elements = touched_.elements;
    if (everything) {
      elements.insert(have.begin(), have.end());
      for (const auto& [element, node] : want) elements.insert(element);
    }
    for (const NftElement& element : elements) plan_element(element);
    // Before the store has answered, an element goes only if its place is needed.
    if (!limits_.may_remove)
      std::erase_if(removed_elements_, [&](const NftElement& element) {
        return std::none_of(added_elements_.begin(), added_elements_.end(),
                            [&](const NftElement& added) { return overlap(element, added); });
      });
    // Guards first, and a set's removals right before what takes their place: ranges of one set may
    // not overlap, and nothing of it is open between two transactions.
    for (const bool guards : {true, false})
      for (int set = 0; set < kNftSetCount; ++set)
        if (is_guard(static_cast<NftSet>(set)) == guards)
          plan_elements_of(static_cast<NftSet>(set));
  }

  static bool is_guard(NftSet set) {
    return set == NftSet::kTxRequired || set == NftSet::kRxRequired ||
           set == NftSet::kRequiredHosts || set == NftSet::kRxRequiredHosts;
  }

  void plan_elements_of(NftSet set) {
    for (const NftElement& element : removed_elements_)
      if (element.set == set) add(kCounting, kNftables, RemoveElement{element});
    for (const NftElement& element : added_elements_)
      if (element.set == set)
        add(set == NftSet::kEncryptedHosts ? kClosing : kCounting, kNftables, PutElement{element});
  }

  static bool overlap(const NftElement& a, const NftElement& b) {
    return a.set == b.set && a.range.first.family() == b.range.first.family() &&
           a.range.first <= b.range.last && b.range.first <= a.range.last;
  }

  void plan_peers() {
    std::set<PublicKey> keys = touched_.peers;
    if (touched_.everything) {
      for (const auto& [key, peer] : desired_.peers()) keys.insert(key);
      for (const auto& [key, peer] : mirror_.peers()) keys.insert(key);
    }
    keys.insert(requests_.resets.begin(), requests_.resets.end());
    keys.insert(requests_.endpoints.begin(), requests_.endpoints.end());
    // Resets last: what the peer still holds for others has been moved by then.
    for (const bool reset : {false, true})
      for (const PublicKey& key : keys)
        if (requests_.resets.contains(key) == reset) plan_peer(key);
    for (const PublicKey& key : requests_.retired)
      if (limits_.may_remove && mirror_.peers().contains(key) && !desired_.peers().contains(key))
        add(kClearing, "", ChangePeer{removal(key)});
    for (const auto& [key, node] : requests_.kicks) {
      const auto wanted = desired_.peers().find(key);
      if (wanted == desired_.peers().end()) continue;
      WgPeerChange kick;
      kick.key = key;
      kick.update_only = true;
      kick.kick = true;
      kick.keepalive = wanted->second.keepalive;
      add(kHandshakes, node, ChangePeer{kick});
    }
  }

  static WgPeerChange removal(const PublicKey& key) {
    WgPeerChange change;
    change.key = key;
    change.remove = true;
    return change;
  }

  void plan_peer(const PublicKey& key) {
    const auto wanted = desired_.peers().find(key);
    if (wanted == desired_.peers().end()) return;  // it stays, and receives, until it is retired
    const DesiredPeer& want = wanted->second;
    const auto found = mirror_.peers().find(key);
    const bool reset = requests_.resets.contains(key) && found != mirror_.peers().end();
    static const WgPeer kAbsent;
    const WgPeer& have = found == mirror_.peers().end() || reset ? kAbsent : found->second;
    const bool present = &have != &kAbsent;

    WgPeerChange change;
    change.key = key;
    change.update_only = present;
    change.anew = reset;
    std::set_difference(want.allowed_ips.begin(), want.allowed_ips.end(), have.allowed_ips.begin(),
                        have.allowed_ips.end(), std::back_inserter(change.add_allowed_ips));
    if (limits_.may_remove) {
      std::set_difference(have.allowed_ips.begin(), have.allowed_ips.end(),
                          want.allowed_ips.begin(), want.allowed_ips.end(),
                          std::back_inserter(change.remove_allowed_ips));
      // What another peer takes over is moved there in one step, not removed here.
      std::erase_if(change.remove_allowed_ips,
                    [&](const Cidr& cidr) { return desired_.allowed_to(cidr).has_value(); });
    }
    if (have.keepalive != want.keepalive) change.keepalive = want.keepalive;
    if (want.endpoint && endpoint_to_write(key, want, have, present))
      change.endpoint = want.endpoint;
    WgPeerChange nothing;
    nothing.key = key;
    nothing.update_only = true;
    if (change != nothing) add(kPeers, want.node, ChangePeer{change});
  }

  // A roamed endpoint is better than the record's: only a changed record is written.
  bool endpoint_to_write(const PublicKey& key, const DesiredPeer& want, const WgPeer& have,
                         bool present) const {
    if (!present || !have.endpoint) return true;
    if (requests_.endpoints.contains(key)) return have.endpoint != want.endpoint;
    if (mirror_.adopted_endpoints().contains(key)) return false;
    const auto written = mirror_.written_endpoint(key);
    return written != want.endpoint && have.endpoint != want.endpoint;
  }

  void plan_routes() {
    std::set<RouteKey> keys = touched_.routes;
    if (touched_.everything) {
      for (const auto& [key, route] : desired_.routes()) keys.insert(key);
      for (const auto& [key, route] : mirror_.routes()) keys.insert(key);
    } else if (rules_stand() && !superfluous_rules().empty()) {
      for (const auto& [key, route] : mirror_.routes())
        if (!desired_.device().tables.contains(key.table)) keys.insert(key);
    }
    // Backwards, so that a prefix's guard (the worst metric) is put before its route, and goes
    // before it: a guard alone would drop what the main table could carry.
    for (auto key = keys.rbegin(); key != keys.rend(); ++key) plan_route(*key);
  }

  void plan_route(const RouteKey& key) {
    const auto wanted = desired_.routes().find(key);
    const auto found = mirror_.routes().find(key);
    const bool present = found != mirror_.routes().end();
    if (wanted == desired_.routes().end()) {
      if (!present || !limits_.may_remove) return;
      if (!desired_.device().tables.contains(key.table) && !rules_stand()) return;
      if (found->second.protocol != kProtocol && !leads_astray(key)) return;
      const Step step = !desired_.device().tables.contains(key.table) ? kOldTables
                        : found->second.type == RouteType::kUnicast   ? kStopSending
                                                                      : clearing_step(key);
      add(step, sender_of(key.destination), RemoveRoute{found->second});
      return;
    }
    const DesiredRoute& want = wanted->second;
    if (present && found->second == want.route) return;
    const bool into_device = want.route.type == RouteType::kUnicast;
    const Step step = key.metric == kGuardMetric ? kGuards
                      : into_device              ? kStartSending
                                                 : kStopSending;
    add(step, want.node, PutRoute{want.route});
  }

  // Somebody else's route in one of our tables, over a prefix of ours or a part of it: packets
  // would take it. What lies beside is none of our business.
  bool leads_astray(const RouteKey& key) const {
    if (!desired_.device().tables.contains(key.table)) return false;
    for (int length = key.destination.length(); length >= 0; --length) {
      const Cidr around = Cidr(key.destination.base(), length);
      const RouteKey ours{key.table, around, base_metric(around.family())};
      if (desired_.routes().contains(ours)) return true;
    }
    return false;
  }

  // Whose AllowedIPs hold the prefix: it loses them only after the route is gone.
  std::string sender_of(const Cidr& cidr) const {
    const auto key = mirror_.allowed_to(cidr);
    const auto peer = key ? desired_.peers().find(*key) : desired_.peers().end();
    return peer == desired_.peers().end() ? "" : peer->second.node;
  }

  // A guard under a route that stays is cleared when that route stands; one whose prefix goes goes
  // with it.
  Step clearing_step(const RouteKey& key) const {
    if (key.metric != kGuardMetric) return kClearing;
    RouteKey base = key;
    base.metric = base_metric(key.destination.family());
    return desired_.routes().contains(base) ? kClearing : kStopSending;
  }

  void plan_rules() {
    const std::vector<Rule>& want = desired_.device().rules;
    for (const Rule& rule : want)
      if (!mirror_.rules().contains(rule)) add(kRules, "", PutRule{rule});
    // Where a rule could not be put, an old one that leads into the mesh is all there is.
    if (!limits_.may_remove || !rules_stand()) return;
    for (const Rule& rule : superfluous_rules()) add(kClearing, "", RemoveRule{rule});
  }

  bool rules_stand() const {
    const std::vector<Rule>& want = desired_.device().rules;
    return std::all_of(want.begin(), want.end(),
                       [&](const Rule& rule) { return mirror_.rules().contains(rule); });
  }

  // Ours, of another configuration.
  std::vector<Rule> superfluous_rules() const {
    const std::vector<Rule>& want = desired_.device().rules;
    std::vector<Rule> rules;
    std::copy_if(mirror_.rules().begin(), mirror_.rules().end(), std::back_inserter(rules),
                 [&](const Rule& rule) {
                   return rule.protocol == kProtocol &&
                          std::find(want.begin(), want.end(), rule) == want.end();
                 });
    return rules;
  }

  const Desired& desired_;
  const Mirror& mirror_;
  const Touched& touched_;
  const Requests& requests_;
  const PlanLimits& limits_;
  std::array<Plan, kStepCount> steps_;
  std::vector<NftElement> removed_elements_;
  std::vector<NftElement> added_elements_;
};

}  // namespace

Plan make_plan(const Desired& desired, const Mirror& mirror, const Touched& touched,
               const Requests& requests, const PlanLimits& limits) {
  return Planner(desired, mirror, touched, requests, limits).run();
}

}  // namespace mesh
