#include "meshd/dataplane/linux_dataplane.h"

#include <algorithm>
#include <cerrno>
#include <limits>
#include <set>
#include <utility>

#include "meshd/dataplane/sysctl.h"

namespace mesh {
namespace {

// Of operations in one batch: our own events come back while it runs and are taken up after it, so
// they must fit the event sockets' buffers.
constexpr std::size_t kMaxBatch = 1000;

template <class T>
bool is(const Operation& operation) {
  return std::holds_alternative<T>(operation.act);
}

bool is_element(const Operation& operation) {
  return is<PutElement>(operation) || is<RemoveElement>(operation);
}

const NftElement& element_of(const Operation& operation) {
  if (const auto* put = std::get_if<PutElement>(&operation.act)) return put->element;
  return std::get<RemoveElement>(operation.act).element;
}

// Whether the kernel can be asked for both at once.
bool same_kind(const Operation& a, const Operation& b) {
  if (is_element(a)) return is_element(b);
  return a.act.index() == b.act.index() &&
         (is<PutRoute>(a) || is<RemoveRoute>(a) || is<ChangePeer>(a));
}

Error not_tried(const Operation& operation) {
  return make_error(ErrorCode::kUnavailable, "not tried: an earlier operation for {} failed",
                    operation.node);
}

}  // namespace

Result<std::unique_ptr<LinuxDataplane>> LinuxDataplane::open() {
  auto route = Rtnetlink::open();
  if (!route) return std::move(route).error();
  auto events = EventMonitor::open();
  if (!events) return std::move(events).error();
  std::unique_ptr<LinuxDataplane> dataplane(
      new LinuxDataplane(std::move(*route), std::move(*events), open_nftables()));
  dataplane->tell_events_what_is_ours();
  return dataplane;
}

Result<LinuxDataplane::Nftables> LinuxDataplane::open_nftables() {
  auto table = NftablesTable::open();
  if (!table) return std::move(table).error();
  auto elements = NftablesElements::open();
  if (!elements) return std::move(elements).error();
  return Nftables{std::move(*table), std::move(*elements)};
}

void LinuxDataplane::tell_events_what_is_ours() {
  if (nftables_)
    events_.ignore_nft_changes_of(nftables_->elements.port_id(), nftables_->table.process_id());
}

int LinuxDataplane::process_exit_fd() {
  const UserspaceProcess* process = device_.process();
  return process == nullptr ? -1 : process->exit_fd();
}

Result<BackendChoice> LinuxDataplane::ensure_device(const DeviceSpec& spec) {
  if (auto allowed = check_permission(); !allowed) return allowed.error();
  return device_.ensure(route_, spec);
}

Result<void> LinuxDataplane::remove_device(const DeviceSpec& spec) {
  if (auto removed = device_.remove(route_, spec); !removed) return removed;
  const auto given = sysctls_.give_back();
  if (!given) return given.error();
  return {};
}

Result<void> LinuxDataplane::check_permission() {
  // The kernel checks the capability before it looks for the link, which cannot exist.
  const auto allowed = route_.change_link(std::numeric_limits<int>::max(), 0, false);
  if (!allowed && allowed.error().code == ErrorCode::kPermission) return allowed.error();
  return {};
}

Result<WgDevice> LinuxDataplane::read_device() {
  if (device_.wireguard() == nullptr)
    return make_error(ErrorCode::kNotFound, "this node has no WireGuard device");
  return device_.wireguard()->read();
}

NftExpressions LinuxDataplane::nft_expressions(const NftExpressions& wanted) {
  const NftExpressions news{wanted.ct && !nft_asked_.ct, wanted.fib && !nft_asked_.fib,
                            wanted.socket && !nft_asked_.socket};
  if (!nftables_ || !(news.ct || news.fib || news.socket)) return nft_has_;
  const NftExpressions found = nftables_->table.probe(news);
  nft_has_ = {nft_has_.ct && found.ct, nft_has_.fib && found.fib, nft_has_.socket && found.socket};
  nft_asked_ = {nft_asked_.ct || news.ct, nft_asked_.fib || news.fib,
                nft_asked_.socket || news.socket};
  return nft_has_;
}

Result<NftContents> LinuxDataplane::read_nftables(const NftSpec& wanted) {
  if (!nftables_) return nftables_.error();
  const auto right = nftables_->table.check(wanted);
  if (!right) return right.error();
  auto elements = nftables_->elements.read();
  if (!elements) return elements.error();
  return NftContents{std::move(*elements), *right};
}

Result<std::vector<NftCounter>> LinuxDataplane::read_counters(const NftSets& sets) {
  if (!nftables_) return nftables_.error();
  return nftables_->elements.read_counters(sets);
}

Result<int> LinuxDataplane::read_link_sysctl(const std::string& link, LinkSysctl sysctl) {
  return mesh::read_link_sysctl(link, sysctl);
}

std::vector<Result<void>> LinuxDataplane::apply(std::span<const Operation> operations) {
  std::vector<Result<void>> results(operations.size());
  std::set<std::string_view> failed;  // nodes
  std::size_t next = 0;
  while (next < operations.size()) {
    // The next batch: of one kind, each node once, so that none is tried after its node's first
    // failed.
    Batch batch;
    std::set<std::string_view> nodes;
    std::vector<std::size_t> places;
    for (; next < operations.size(); ++next) {
      const Operation& operation = operations[next];
      if (!batch.empty() && !has_room(batch, operations.subspan(next))) break;
      if (failed.contains(operation.node)) {
        results[next] = not_tried(operation);
        continue;
      }
      if (!batch.empty() && !same_kind(*batch.front(), operation)) break;
      const bool again = !operation.node.empty() && !nodes.insert(operation.node).second;
      if (again && !is_element(operation)) break;
      batch.push_back(&operation);
      places.push_back(next);
    }
    if (batch.empty()) continue;
    std::vector<Result<void>> outcome = execute(batch);
    for (std::size_t i = 0; i < batch.size(); ++i) {
      if (!outcome[i] && !batch[i]->node.empty()) failed.insert(batch[i]->node);
      results[places[i]] = std::move(outcome[i]);
    }
    events_.pump();
  }
  return results;
}

// What happens to one set of nftables is one transaction if it can be, so that no range of it is
// open meanwhile.
bool LinuxDataplane::has_room(const Batch& batch, std::span<const Operation> rest) {
  if (!is_element(rest.front())) return batch.size() < kMaxBatch;
  const auto set = [](const Operation& operation) { return element_of(operation).set; };
  if (is_element(*batch.back()) && set(*batch.back()) == set(rest.front()))
    return batch.size() < kMaxRangesPerCommit;
  const auto end = std::find_if(rest.begin(), rest.end(), [&](const Operation& operation) {
    return !is_element(operation) || set(operation) != set(rest.front());
  });
  const auto run = static_cast<std::size_t>(end - rest.begin());
  return batch.size() + std::min(run, kMaxBatch) <= kMaxRangesPerCommit;
}

std::vector<Result<void>> LinuxDataplane::execute(const Batch& batch) {
  const Operation& head = *batch.front();
  if (is_element(head)) return change_elements(batch);
  if (is<ChangePeer>(head)) return change_peers(batch);
  if (is<PutRoute>(head)) {
    std::vector<Route> routes;
    for (const Operation* operation : batch)
      routes.push_back(std::get<PutRoute>(operation->act).route);
    return route_.put_routes(routes);
  }
  if (is<RemoveRoute>(head)) {
    std::vector<Route> routes;
    for (const Operation* operation : batch)
      routes.push_back(std::get<RemoveRoute>(operation->act).route);
    return route_.remove_routes(routes);
  }
  return {execute_one(head.act)};
}

std::vector<Result<void>> LinuxDataplane::change_peers(const Batch& batch) {
  if (device_.wireguard() == nullptr)
    return std::vector<Result<void>>(
        batch.size(), make_error(ErrorCode::kUnavailable, "this node has no WireGuard device"));
  std::vector<WgPeerChange> changes;
  for (const Operation* operation : batch)
    changes.push_back(std::get<ChangePeer>(operation->act).change);
  return device_.wireguard()->change_peers(changes);
}

std::vector<Result<void>> LinuxDataplane::change_elements(const Batch& batch) {
  if (!nftables_) return std::vector<Result<void>>(batch.size(), nftables_.error());
  std::vector<NftElementChange> changes;
  for (const Operation* operation : batch) {
    if (const auto* put = std::get_if<PutElement>(&operation->act))
      changes.push_back({put->element, false});
    else
      changes.push_back({std::get<RemoveElement>(operation->act).element, true});
  }
  return nftables_->elements.apply(changes);
}

Result<void> LinuxDataplane::execute_one(const Act& act) {
  if (const auto* configure = std::get_if<ConfigureDevice>(&act))
    return configure_device(configure->change);
  if (const auto* link = std::get_if<ConfigureLink>(&act)) return configure_link(*link);
  if (const auto* add = std::get_if<AddAddress>(&act)) {
    const auto index = device_index();
    if (!index) return index.error();
    return route_.add_address(*index, add->address);
  }
  if (const auto* remove = std::get_if<RemoveAddress>(&act)) {
    const auto index = device_index();
    if (!index && index.error().code == ErrorCode::kNotFound) return {};
    if (!index) return index.error();
    return route_.remove_address(*index, remove->address);
  }
  if (const auto* set = std::get_if<SetLinkSysctl>(&act)) return sysctls_.change(set->setting);
  if (const auto* put = std::get_if<PutRule>(&act)) return route_.put_rule(put->rule);
  if (const auto* remove = std::get_if<RemoveRule>(&act)) return route_.remove_rule(remove->rule);
  if (const auto* install = std::get_if<InstallRuleset>(&act)) return install_ruleset(*install);
  return make_error(ErrorCode::kInternal, "no way to execute {}", name_of(act));
}

Result<void> LinuxDataplane::configure_device(const WgDeviceChange& change) {
  if (device_.wireguard() == nullptr)
    return make_error(ErrorCode::kUnavailable, "this node has no WireGuard device");
  return device_.wireguard()->configure(change, identity_);
}

Result<void> LinuxDataplane::configure_link(const ConfigureLink& act) {
  const auto index = device_index();
  if (!index) return index.error();
  auto changed = route_.change_link(*index, act.mtu, act.up);
  if (!changed && changed.error().sys_errno == EADDRINUSE)
    return Error{ErrorCode::kBusy,
                 fmt::format("set link {} up: another program uses its listen port (`ss -lunp` "
                             "names it; stop it, or choose another wireguard.listenPort)",
                             device_.name()),
                 EADDRINUSE};
  return changed;
}

Result<void> LinuxDataplane::install_ruleset(const InstallRuleset& act) {
  if (!nftables_) return nftables_.error();
  auto installed = nftables_->table.install(act.spec, act.keep_sets);
  tell_events_what_is_ours();
  return installed;
}

Result<int> LinuxDataplane::device_index() {
  auto link = route_.find_link(device_.name());
  if (!link) return std::move(link).error();
  if (!*link) return make_error(ErrorCode::kNotFound, "the mesh device {} is gone", device_.name());
  return (*link)->index;
}

}  // namespace mesh
