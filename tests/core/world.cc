#include "world.h"

#include <fmt/format.h>

namespace mesh {

void PrintTo(const Operation& operation, std::ostream* out) { *out << to_string(operation); }

}  // namespace mesh

namespace mesh::test {
namespace {

Touched nothing() {
  Touched touched;
  touched.everything = false;
  return touched;
}

}  // namespace

LocalNode local_node() {
  LocalNode local;
  local.name = "a";
  local.addresses = {ip("192.0.2.1")};
  local.cidrs = {cidr("10.1.0.0/24"), cidr("fd00:1::/64")};
  local.host_addresses = {ip("192.0.2.1"), ip("10.1.0.1")};
  local.backend = Backend::kKernel;
  local.key = key(1);
  local.device_name = "mesh0";
  local.listen_port = 51820;
  local.mtu = 1440;
  local.fwmark = 0x2000;
  local.table_w = kTableW;
  local.table_h = kTableH;
  local.table_t = kTableT;
  local.rule_priority = 99;
  return local;
}

RecordOf& RecordOf::key_text(const std::string& text) {
  annotations[std::string(kPublicKeyAnnotation)] = text;
  return *this;
}
RecordOf& RecordOf::no_key() {
  annotations.erase(std::string(kPublicKeyAnnotation));
  return *this;
}
RecordOf& RecordOf::mode(const std::string& mode) {
  annotations[std::string(kModeAnnotation)] = mode;
  return *this;
}
RecordOf& RecordOf::host_traffic() {
  annotations[std::string(kHostTrafficAnnotation)] = "true";
  return *this;
}

RecordOf& RecordOf::endpoint(const std::string& text) {
  annotations[std::string(kEndpointAnnotation)] = text;
  return *this;
}
RecordOf& RecordOf::label(const std::string& label, const std::string& value) {
  labels[label] = value;
  return *this;
}
NodeRecord RecordOf::record() const { return {name, addresses, cidrs, labels, annotations, {}}; }

RecordOf node(const std::string& name, int n) {
  RecordOf record;
  record.name = name;
  record.cidrs = {cidr(fmt::format("10.{}.0.0/24", n)), cidr(fmt::format("fd00:{}::/64", n))};
  record.addresses = {ip(fmt::format("192.0.2.{}", n))};
  record.key(n);
  return record;
}

World::World(LocalNode local_facts) : kernel(clock), local(std::move(local_facts)) {
  kernel.watch_tables(local.tables());
  kernel.set_own_key(local.key);
  const int uplink = kernel.add_link("eth0");
  kernel.add_address(uplink, ip("192.0.2.1"), 24);
  const int bridge = kernel.add_link("br0");
  kernel.add_address(bridge, ip("10.1.0.1"), 24);
  watcher = std::make_unique<PathWatcher>(kernel, desired, kTableW, kTableH);
  restart();
}

void World::restart(bool store_is_out) {
  model = std::make_unique<MeshModel>();
  desired = Desired();
  mirror_ = Mirror();
  touched_ = Touched();
  adopted_ = false;
  (void)kernel.drain_events();
  model->set_local(local, now());
  store_answered = !store_is_out;
  if (store_answered) store_answers();
}

void World::store_answers() {
  store_answered = true;
  StoreUpdate update{true, "", true, {}};
  for (const auto& [name, entry] : records_) update.changes.push_back({name, entry});
  for (const auto& [name, entry] : policies_) update.policies.push_back({name, entry});
  deliver(std::move(update));
}

void World::deliver(StoreUpdate update) { model->apply(update, now()); }

void World::put(const RecordOf& record) {
  records_[record.name] = std::make_shared<const StoreEntry>(record.record());
  if (store_answered) deliver({true, "", false, {{record.name, records_[record.name]}}});
}

void World::put_bad(const std::string& name) {
  records_[name] = std::make_shared<const StoreEntry>(BadRecord{"line 1, column 1: nonsense"});
  if (store_answered) deliver({true, "", false, {{name, records_[name]}}});
}

void World::remove(const std::string& name) {
  records_.erase(name);
  if (store_answered) deliver({true, "", false, {{name, nullptr}}});
}

void World::put_policy(const EncryptionPolicy& policy) {
  policies_[policy.name] = std::make_shared<const PolicyEntry>(policy);
  if (store_answered) deliver({true, "", false, {}, {{policy.name, policies_[policy.name]}}});
}

void World::put_bad_policy(const std::string& name) {
  policies_[name] = std::make_shared<const PolicyEntry>(BadRecord{"line 1, column 1: nonsense"});
  if (store_answered) deliver({true, "", false, {}, {{name, policies_[name]}}});
}

void World::remove_policy(const std::string& name) {
  policies_.erase(name);
  if (store_answered) deliver({true, "", false, {}, {{name, nullptr}}});
}

void World::read_everything() {
  mirror_.set_links(kernel.read_links().value());
  mirror_.set_addresses(kernel.read_addresses().value());
  if (auto device = kernel.read_device()) {
    mirror_.set_device(*device, touched_);
  } else {
    mirror_.clear_device(touched_);
  }
  auto routes = kernel.read_routes(kTableW).value();
  for (const std::uint32_t table : {kTableH, kTableT}) {
    const auto hosts = kernel.read_routes(table).value();
    routes.insert(routes.end(), hosts.begin(), hosts.end());
  }
  mirror_.set_routes(routes, touched_);
  mirror_.set_rules(kernel.read_rules().value());
  read_nftables();
  touched_.everything = true;
}

void World::read_nftables() {
  auto contents = kernel.read_nftables(nft_spec(local));
  mirror_.set_nftables(contents ? std::optional(*contents) : std::nullopt, touched_);
}

const Plan& World::pass() {
  bool nftables = false;
  for (const KernelEvent& event : kernel.drain_events())
    nftables = mirror_.apply(event, local.device_name, touched_) == "nftables" || nftables;
  if (nftables) read_nftables();
  if (touched_.everything) read_everything();
  if (local.has_wireguard() && !mirror_.device()) {
    if (kernel.ensure_device({local.device_name, BackendPreference::kAuto, ""})) read_everything();
  }
  local.device_index = mirror_.device() ? mirror_.device()->ifindex : 0;
  model->set_local(local, now());
  if (!adopted_ && model->store_answered()) {
    model->adopt(mirror_, now());
    adopted_ = true;
  }
  if (mirror_.device())
    if (auto device = kernel.read_device()) mirror_.set_device(*device, touched_);
  model->observe(mirror_, &inner_tx, now());
  Requests requests;
  (void)model->settle(now(), desired, touched_, requests);
  desired.set_device(desired_device(model->local(), true));
  plan_ = make_plan(desired, mirror_, touched_, requests, {model->store_answered(), true});
  adopt_endpoints(desired, mirror_);
  watcher->begin();
  const auto results = kernel.apply(plan_);
  bool failed = false;
  for (std::size_t i = 0; i < plan_.size(); ++i) {
    if (results[i]) {
      mirror_.apply(plan_[i]);
    } else {
      failed = true;
    }
  }
  touched_ = nothing();
  touched_.everything = failed;
  return plan_;
}

void World::settle() {
  for (int quiet = 0, passes = 0; quiet < 2; ++passes) {
    ASSERT_LT(passes, 60) << "the passes do not come to rest";
    quiet = pass().empty() ? quiet + 1 : 0;
    clock.advance(std::chrono::milliseconds(200));
  }
}

void World::wait(Duration duration) {
  clock.advance(duration);
  settle();
}

Plan World::left_to_do() {
  read_everything();
  return make_plan(desired, mirror_, touched_, {}, {model->store_answered(), true});
}

}  // namespace mesh::test
