#include "meshd/daemon/kernel_view.h"

#include <algorithm>

namespace mesh {
namespace {

// Default, main and local: large, and never ours.
bool is_system_table(std::uint32_t table) { return table >= 253 && table <= 255; }

}  // namespace

void KernelView::set_scope(std::string device_name, std::set<std::uint32_t> tables) {
  device_name_ = std::move(device_name);
  tables_ = std::move(tables);
  dataplane_.watch_tables(tables_);
}

Result<void> KernelView::read_device(Touched& touched) {
  auto device = dataplane_.read_device();
  if (device) {
    mirror_.set_device(*device, touched);
    return {};
  }
  if (device.error().code != ErrorCode::kNotFound) return device.error();
  mirror_.clear_device(touched);
  return {};
}

Result<void> KernelView::read_link_settings() {
  mirror_.clear_link_settings();
  for (const LinkSysctl sysctl : {LinkSysctl::kRpFilter, LinkSysctl::kSrcValidMark}) {
    auto all = dataplane_.read_link_sysctl("all", sysctl);
    if (!all) return all.error();
    for (const auto& [name, link] : mirror_.links()) {
      // A link may vanish between the dump and this; the next event says so.
      if (auto value = dataplane_.read_link_sysctl(name, sysctl))
        mirror_.set_link_setting({name, sysctl, std::max(*all, *value)});
    }
  }
  return {};
}

void KernelView::want(const NftSpec& spec) {
  if (spec == wanted_) return;
  wanted_ = spec;
  mirror_.rules_are_outdated();
}

// Without a table there is nothing to compare with. A dump that failed says nothing: a table made
// anew for its sake would lose the counters.
void KernelView::read_nftables(Touched& touched) {
  auto contents = dataplane_.read_nftables(wanted_);
  // A kernel that has no nf_tables says so when the table is made.
  const bool well = contents || contents.error().code == ErrorCode::kNotFound ||
                    contents.error().code == ErrorCode::kUnsupported;
  elements_problem_ = well ? "" : contents.error().message;
  nftables_unread_ = !well;
  if (contents || contents.error().code == ErrorCode::kNotFound)
    mirror_.set_nftables(contents ? std::optional(std::move(*contents)) : std::nullopt, touched);
}

Result<void> KernelView::read_everything(Touched& touched) {
  auto links = dataplane_.read_links();
  if (!links) return links.error();
  mirror_.set_links(*links);
  auto addresses = dataplane_.read_addresses();
  if (!addresses) return addresses.error();
  mirror_.set_addresses(*addresses);
  if (auto device = read_device(touched); !device) return device;
  auto rules = dataplane_.read_rules();
  if (!rules) return rules.error();
  mirror_.set_rules(*rules);
  // Where our own rules lead to is ours, under whatever configuration it was made.
  for (const Rule& rule : *rules)
    if (rule.protocol == kProtocol && !is_system_table(rule.table)) old_tables_.insert(rule.table);
  std::set<std::uint32_t> tables = old_tables_;
  tables.insert(tables_.begin(), tables_.end());
  std::vector<Route> routes;
  for (const std::uint32_t table : tables) {
    auto part = dataplane_.read_routes(table);
    if (!part) return part.error();
    routes.insert(routes.end(), part->begin(), part->end());
  }
  mirror_.set_routes(routes, touched);
  read_nftables(touched);
  touched.everything = true;
  return read_link_settings();
}

Result<void> KernelView::sample(const std::map<NftElement, std::string>& owners,
                                const NftSets& sets, Touched& touched) {
  auto device = read_device(touched);
  if (nftables_unread_) read_nftables(touched);
  counted_ = read_counters(owners, sets) && sets.all();
  return device;
}

bool KernelView::read_counters(const std::map<NftElement, std::string>& owners,
                               const NftSets& sets) {
  if (!mirror_.has_sets()) return false;
  const auto counters = dataplane_.read_counters(sets);
  if (counters) traffic_.update(*counters, owners, sets);
  // A table that is gone is made again, and nothing was counted meanwhile.
  const bool well = counters || counters.error().code == ErrorCode::kNotFound;
  counters_problem_ = well ? "" : counters.error().message;
  return counters.has_value();
}

KernelView::Heard KernelView::drain(Touched& touched) {
  Heard heard;
  for (const KernelEvent& event : dataplane_.drain_events()) {
    heard.anything = true;
    heard.rules = heard.rules || std::holds_alternative<RuleEvent>(event);
    if (auto kind = mirror_.apply(event, device_name_, touched); !kind.empty())
      heard.kinds.insert(std::move(kind));
  }
  // What it is that somebody did, the event does not say; and a guard that stands is not taken down
  // to find out.
  if (heard.kinds.contains("nftables")) read_nftables(touched);
  return heard;
}

void KernelView::acknowledge(const Operation& operation) {
  const auto* install = std::get_if<InstallRuleset>(&operation.act);
  if (install != nullptr && !install->keep_sets) traffic_.restart();
  if (const auto* removed = std::get_if<RemoveElement>(&operation.act))
    traffic_.gone(removed->element);
  mirror_.apply(operation);
}

}  // namespace mesh
