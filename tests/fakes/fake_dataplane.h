// A kernel in memory behind the port Dataplane: stateful, strict where the kernel is, and
// breakable.
//
// It keeps what the kernel keeps and does what it does: AllowedIPs move between peers, a device
// takes its routes and addresses with it, an overlapping range is refused, a handshake completes
// with whoever answers. Every change, ours and others', comes back as an event. Tests inject faults
// by the name of an operation or of a dump, and may look at the whole state after every single
// operation. One thread.
#pragma once

#include <array>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "mesh/clock.h"
#include "mesh/dataplane.h"
#include "mesh/unique_fd.h"

namespace mesh::test {

class FakeDataplane final : public Dataplane {
 public:
  explicit FakeDataplane(const Clock& clock);

  // --- Dataplane ---
  Result<BackendChoice> ensure_device(const DeviceSpec& spec) override;
  Result<void> remove_device(const DeviceSpec& spec) override;
  void set_identity(const PrivateKey* key) override;
  Result<WgDevice> read_device() override;
  Result<std::vector<Link>> read_links() override;
  Result<std::vector<LocalAddress>> read_addresses() override;
  Result<std::vector<Route>> read_routes(std::uint32_t table) override;
  Result<std::vector<Rule>> read_rules() override;
  Result<NftContents> read_nftables(const NftSpec& wanted) override;
  NftExpressions nft_expressions(const NftExpressions&) override { return nft_expressions_; }
  Result<std::vector<NftCounter>> read_counters(const NftSets& sets) override;
  Result<int> read_link_sysctl(const std::string& link, LinkSysctl sysctl) override;
  Result<RouteLookup> lookup(const IpAddress& destination, std::uint32_t mark) override;
  std::vector<Result<void>> apply(std::span<const Operation> operations) override;
  int event_fd() const override { return event_fd_.get(); }
  std::vector<KernelEvent> drain_events() override;
  void watch_tables(std::set<std::uint32_t> tables) override { tables_ = std::move(tables); }

  // --- faults ---
  static constexpr int kForEver = std::numeric_limits<int>::max();
  static constexpr Duration kRoundTrip = std::chrono::microseconds(100);  // of a handshake
  // The next operation or dump of this kind fails, `times` times, after `skip` that do not. Kinds:
  // those of name_of(Act), "ensure-device", "read-device", "read-links", "read-addresses",
  // "read-routes", "read-rules", "read-nftables", "read-counters", "read-link-sysctl", "lookup",
  // "remove-device"; "" for every operation (not the dumps).
  void fail(std::string kind, int skip = 0, int times = 1, ErrorCode code = ErrorCode::kIo);
  void stop_failing() { faults_.clear(); }
  int failures() const { return failures_; }  // how many were injected

  // --- watching ---
  // Called after every operation that was executed, before the next.
  void after_each(std::function<void(const Operation&)> look) { look_ = std::move(look); }
  const std::vector<Operation>& executed() const { return executed_; }  // since the last forget()
  void forget() { executed_.clear(); }

  // --- the state, to look at ---
  const std::map<RouteKey, Route>& routes() const { return routes_; }
  const std::map<PublicKey, WgPeer>& peers() const { return peers_; }
  const std::set<Rule>& rules() const { return rules_; }
  const std::set<NftElement>& elements() const { return elements_; }
  const std::optional<NftSpec>& ruleset() const { return ruleset_; }
  bool has_device() const { return device_index_ != 0; }
  int device_index() const { return device_index_; }
  int devices_made() const { return devices_made_; }
  std::optional<PublicKey> allowed_to(const Cidr& cidr) const;
  // What the tables say of a packet without the mark: the way of the most specific route in table
  // W, the better metric first; kOther when the table has none (then the main table decides).
  RouteType way_of(const IpAddress& destination) const;

  // --- the world outside ---
  void set_backend(Backend backend, std::string reason = "");  // what ensure_device can make
  void set_own_key(const PublicKey& key) {
    own_key_ = key;
  }  // of the identity, when no PrivateKey is given
  int add_link(const std::string& name, std::uint32_t mtu = 1500);
  void add_address(int ifindex, const IpAddress& address, int length);
  void remove_address(int ifindex, const IpAddress& address);
  // Handshakes with this key complete whenever one is started; off again with false.
  void answer(const PublicKey& key, bool answers = true);
  // The peer's side starts one: completes if the device has the peer.
  void handshake(const PublicKey& key);
  void receive(const PublicKey& key, std::uint64_t bytes);
  void roam(const PublicKey& key, const Endpoint& endpoint);  // it is heard from there
  void write_endpoint(const PublicKey& key, const Endpoint& endpoint);
  // Inner bytes through an element of a set.
  void count(const NftElement& element, std::uint64_t bytes);
  void delete_device();
  void set_device_up(bool up);
  void set_link_sysctl(const std::string& name, LinkSysctl sysctl, int value) {
    link_sysctls_[name].at(static_cast<std::size_t>(sysctl)) = value;
  }
  void set_link_mtu(const std::string& name, std::uint32_t mtu);
  void put_route(const Route& route);
  void remove_route(const RouteKey& key);
  void put_rule(const Rule& rule);
  void remove_rule(const Rule& rule);
  void put_peer(const WgPeer& peer);
  void remove_peer(const PublicKey& key);
  void remove_allowed_ip(const Cidr& cidr);
  void flush_ruleset();
  void spoil_rules();  // of the ruleset: its sets stay
  void lack(NftExpressions has) { nft_expressions_ = has; }
  void lose_events();  // what waits is gone, and an overrun says so

 private:
  struct Fault {
    std::string kind;
    int skip = 0;
    int times = 0;
    ErrorCode code = ErrorCode::kIo;
  };
  struct Execute;

  std::optional<Error> fault(std::string_view kind, bool operation);
  Result<void> change_peer(const WgPeerChange& change);
  void move_allowed_ip(const Cidr& cidr, const PublicKey& key);
  void try_handshake(WgPeer& peer);
  Result<void> put_own_route(const Route& route);
  void erase_route(const RouteKey& key, bool told);
  void drop_device_routes(bool also_addresses);
  void event(KernelEvent event);
  Link& device_link() { return links_.at(device_index_); }

  const Clock& clock_;
  const PrivateKey* identity_ = nullptr;
  PublicKey own_key_;
  Backend available_ = Backend::kKernel;
  std::string unavailable_reason_;

  int next_index_ = 2;
  int device_index_ = 0;
  int devices_made_ = 0;
  PublicKey device_key_;
  std::uint16_t listen_port_ = 0;
  std::uint32_t fwmark_ = 0;
  std::map<PublicKey, WgPeer> peers_;
  std::map<Cidr, PublicKey> allowed_;
  std::set<PublicKey> answering_;
  std::map<int, Link> links_;
  std::set<LocalAddress> addresses_;
  std::map<RouteKey, Route> routes_;
  std::set<Rule> rules_;
  std::optional<NftSpec> ruleset_;
  NftExpressions nft_expressions_;
  std::set<NftElement> elements_;
  std::map<NftElement, NftCounter> counters_;
  std::map<std::string, std::array<int, kLinkSysctlCount>> link_sysctls_;  // index: LinkSysctl
  std::set<std::uint32_t> tables_;                                         // the first is W

  std::vector<KernelEvent> events_;
  UniqueFd event_fd_;
  std::vector<Fault> faults_;
  int failures_ = 0;
  std::vector<Operation> executed_;
  std::function<void(const Operation&)> look_;
};

}  // namespace mesh::test
