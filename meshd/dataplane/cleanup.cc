// The removal of all that meshd made.
#include <fmt/format.h>

#include <set>

#include "meshd/dataplane/linux_dataplane.h"

namespace mesh {
namespace {

class Notes {
 public:
  // Whether it worked; a failure is noted.
  template <class T>
  bool worked(const Result<T>& result, std::string_view what) {
    if (!result) notes_.failed.push_back(fmt::format("{}: {}", what, result.error().message));
    return result.has_value();
  }
  void removed(std::string what) { notes_.removed.push_back(std::move(what)); }
  LinuxDataplane::Cleanup take() { return std::move(notes_); }

 private:
  LinuxDataplane::Cleanup notes_;
};

void remove_rules(Rtnetlink& kernel, Notes& notes) {
  const auto rules = kernel.read_rules();
  if (!notes.worked(rules, "rules")) return;
  std::size_t gone = 0;
  for (const Rule& rule : *rules)
    if (rule.protocol == kProtocol && notes.worked(kernel.remove_rule(rule), "rules")) ++gone;
  if (gone != 0) notes.removed(fmt::format("{} policy rules", gone));
}

void remove_routes(Rtnetlink& kernel, Notes& notes) {
  const auto routes = kernel.read_own_routes();
  if (!notes.worked(routes, "routes")) return;
  std::set<std::uint32_t> tables;
  const auto results = kernel.remove_routes(*routes);
  for (std::size_t i = 0; i < results.size(); ++i) {
    if (notes.worked(results[i], "routes")) tables.insert((*routes)[i].key.table);
  }
  for (const std::uint32_t table : tables)
    notes.removed(fmt::format("the routes of table {}", table));
}

}  // namespace

LinuxDataplane::Cleanup LinuxDataplane::remove_everything(const DeviceSpec& spec) {
  Notes notes;
  // The rules first: from then on every packet has its old path.
  remove_rules(route_, notes);
  remove_routes(route_, notes);
  std::set<std::string> devices{spec.name};
  if (nftables_) {
    const auto device = nftables_->table.remove();
    if (notes.worked(device, "nftables") && !device->empty()) {
      notes.removed("nftables table inet meshd");
      devices.insert(*device);  // an earlier configuration's name
    }
  }
  for (const std::string& name : devices) {
    const auto link = route_.find_link(name);
    if (!notes.worked(link, name) || !*link) continue;
    DeviceSpec its = spec;
    its.name = name;
    if (!notes.worked(device_.remove(route_, its), name)) continue;
    const auto left = route_.find_link(name);
    if (left && !*left) notes.removed("device " + name);
    if (left && *left)
      (void)notes.worked(
          Result<void>(make_error(ErrorCode::kExists, "it is not meshd's: it stays")), name);
  }
  const auto settings = sysctls_.give_back();
  if (notes.worked(settings, "settings of links"))
    for (const LinkSetting& setting : *settings)
      notes.removed(fmt::format("net.ipv4.conf.{}.{} is {} again", setting.link,
                                to_string(setting.sysctl), setting.value));
  return notes.take();
}

}  // namespace mesh
