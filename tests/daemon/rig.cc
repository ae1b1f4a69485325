#include "rig.h"

#include <poll.h>

#include <algorithm>

namespace mesh::test {

Config config_of_a() {
  Config config;
  config.node.name = "a";
  config.node.addresses = {ip("192.0.2.1")};
  config.node.cidrs = {cidr("10.1.0.0/24"), cidr("fd00:1::/64")};
  config.log.level = LogLevel::kError;
  return config;
}

Rig::Rig(Config wanted)
    : kernel(clock),
      dataplane(kernel),
      config(std::move(wanted)),
      metrics([this] { return status; }, clock) {
  kernel.set_own_key(key(1));
  kernel.add_address(kernel.add_link("eth0"), ip("192.0.2.1"), 24);
  kernel.add_address(kernel.add_link("br0", 1400), ip("10.1.0.1"), 24);
}

void Rig::start(bool dry_run) {
  news_.clear();
  next_ = {};
  (void)kernel.drain_events();
  reconciler.reset();
  make_prober();
  ReconcilerOptions options;
  options.paths = paths.get();
  options.key = key(1);
  options.key_created = clock.now().wall;
  options.version = "1.2.3";
  options.dry_run = dry_run;
  options.publish = [this](NodeRecord record) {
    ++published;
    store.publish(std::move(record));
  };
  options.forget = [this](const std::string& name) { store.forget(name); };
  if (keeps_snapshots) {
    if (snapshot_damage.empty()) options.snapshots.found = snapshot;
    options.snapshots.damage = snapshot_damage;
    options.snapshots.save = [this](Snapshot saved) {
      ++saves;
      if (!save_problem.empty()) return;
      snapshot = std::move(saved);
      snapshot_damage.clear();
    };
    options.snapshots.save_problem = [this] { return save_problem; };
  }
  options.traffic.found = counts;
  options.traffic.save = [this](std::string text) { counts = std::move(text); };
  options.traffic.save_problem = [] { return std::string(); };
  options.report = [this](std::shared_ptr<const Status> report) { status = std::move(report); };
  reconciler = std::make_unique<Reconciler>(dataplane, clock, metrics, config, std::move(options));
  store.start([this](StoreUpdate update) { news_.push_back(std::move(update)); });
}

void Rig::reboot() {
  reconciler.reset();
  kernel.delete_device();
  kernel.flush_ruleset();
  const auto routes = kernel.routes();
  for (const auto& [key, route] : routes)
    if (route.protocol == kProtocol) kernel.remove_route(key);
  const auto rules = kernel.rules();
  for (const Rule& rule : rules)
    if (rule.protocol == kProtocol) kernel.remove_rule(rule);
}

void Rig::make_prober() {
  paths.reset();
  if (measures_ == 0) return;
  Result<std::unique_ptr<PathProbe>> probe =
      make_error(ErrorCode::kPermission, "CAP_NET_RAW is missing");
  if (measures_ > 0) probe = std::unique_ptr<PathProbe>(std::make_unique<FakePathProbe>(underlay));
  paths = PathProber::create(std::move(probe), clock).value();
}

bool Rig::probes_are_due(MonotonicTime now) const {
  return paths && (!underlay.news.empty() || (paths->next() && *paths->next() <= now));
}

MonotonicTime Rig::pass() {
  for (; !news_.empty(); news_.pop_front()) reconciler->on_store_update(news_.front());
  ++passes;
  next_ = reconciler->pass();
  return next_;
}

bool Rig::events_wait() const {
  pollfd waiting{kernel.event_fd(), POLLIN, 0};
  return poll(&waiting, 1, 0) == 1;
}

void Rig::run(Duration duration) {
  const MonotonicTime end = clock.now().monotonic + duration;
  int at_once = 0;
  const std::size_t most =
      passes + 200 + 30 * static_cast<std::size_t>(duration / std::chrono::seconds(1));
  while (true) {
    const MonotonicTime now = clock.now().monotonic;
    if (probes_are_due(now)) {
      if (paths->run()) pass();
      continue;
    }
    if (!news_.empty() || events_wait() || next_ <= now) {
      pass();
      ASSERT_GT(next_, now) << "a pass that asks for another at the same time never ends";
      ASSERT_LT(++at_once, 100) << "the loop spins";
      ASSERT_LT(passes, most) << "the loop runs much too often";
      continue;
    }
    at_once = 0;
    const MonotonicTime next = std::min(next_, paths ? paths->next().value_or(next_) : next_);
    if (next > end) break;
    clock.advance(next - now);
  }
  clock.advance(end - clock.now().monotonic);
}

bool Rig::run_until(const std::function<bool()>& condition) {
  for (int i = 0; i < 300; ++i) {
    run(std::chrono::milliseconds(100));
    if (::testing::Test::HasFatalFailure()) return false;
    if (condition()) return true;
  }
  return false;
}

void Rig::add_peer(const std::string& name, int n) {
  kernel.answer(key(n));
  store.put(node(name, n).record());
}

const PeerStatus& Rig::peer(const std::string& name) const {
  static const PeerStatus kNobody;
  const PeerStatus* found = status ? find_peer(*status, name) : nullptr;
  EXPECT_NE(found, nullptr) << "no peer " << name;
  return found == nullptr ? kNobody : *found;
}

std::optional<PublicKey> Rig::published_key() const {
  const NodeRecord* record = store.record("a");
  return record == nullptr ? std::nullopt : read_announcement(*record).key;
}

bool Rig::warns(const std::string& text) const {
  return std::any_of(
      status->warnings.begin(), status->warnings.end(),
      [&](const std::string& warning) { return warning.find(text) != std::string::npos; });
}

int Rig::metric(const std::string& series) const {
  const std::string text = metrics.render();
  const auto found = text.find("\n" + series + " ");
  return found == std::string::npos ? 0 : std::stoi(text.substr(found + series.size() + 2));
}

int Rig::errors(const std::string& operation) const {
  return metric("meshd_reconcile_errors_total{operation=\"" + operation + "\"}");
}

int Rig::repairs(const std::string& object) const {
  return metric("meshd_repairs_total{object=\"" + object + "\"}");
}

std::string Rig::left_to_do() {
  auto plan = reconciler->preview();
  return plan ? *plan : plan.error().message;
}

}  // namespace mesh::test
