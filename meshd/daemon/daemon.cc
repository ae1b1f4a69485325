#include "meshd/daemon/daemon.h"

#include <sys/stat.h>
#include <systemd/sd-daemon.h>

#include <algorithm>
#include <csignal>
#include <future>
#include <nlohmann/json.hpp>

#include "core/desired.h"
#include "keys/key_file.h"
#include "meshd/daemon/guard.h"
#include "meshd/daemon/listen_socket.h"
#include "meshd/daemon/local_facts.h"
#include "meshd/daemon/log.h"
#include "meshd/daemon/store_factory.h"
#include "meshd/daemon/traffic_file.h"
#include "meshd/daemon/version.h"
#include "meshd/dataplane/linux_dataplane.h"
#include "meshd/dataplane/path_probe.h"
#include "meshd/store/snapshot_file.h"

namespace mesh {
namespace {

constexpr auto kCommandTimeout = std::chrono::seconds(10);
constexpr auto kStalledAfter =
    std::chrono::seconds(90);  // longer than any pause between two passes

WallTime key_time(const Config& config) {
  struct stat info {};
  if (stat((config.keys.directory / kKeyFileName).c_str(), &info) != 0)
    return std::chrono::system_clock::now();
  return WallTime(std::chrono::seconds(info.st_mtim.tv_sec));
}

std::string join(const std::vector<std::string>& items) {
  std::string text;
  for (const std::string& item : items) text += (text.empty() ? "" : ", ") + item;
  return text;
}

// Beside the socket, in a directory that is empty after a boot, as are the settings.
std::string sysctl_file(const Config& config) {
  return (std::filesystem::path(config.api.socket).parent_path() / "sysctl").string();
}

DeviceSpec device_spec(const Config& config) {
  return {config.wireguard.interface, config.wireguard.backend, config.wireguard.userspace_command};
}

// An argument of a command, which anybody may have written.
Result<std::string> text_of(const nlohmann::json& arguments, const char* name,
                            std::string otherwise) {
  const auto found = arguments.find(name);
  if (found == arguments.end()) return otherwise;
  if (!found->is_string())
    return make_error(ErrorCode::kInvalid, "the argument '{}' must be a string", name);
  return found->get<std::string>();
}

}  // namespace

Daemon::Daemon(Config config, std::filesystem::path config_file, PrivateKey key)
    : config_(std::move(config)), config_file_(std::move(config_file)), key_(std::move(key)) {}

Daemon::~Daemon() {
  stopping_ = true;
  // In the order of who calls whom: the API and the store call the loop.
  api_.reset();
  store_.reset();
}

Result<std::unique_ptr<Daemon>> Daemon::create(Config config, std::filesystem::path config_file) {
  log::configure(config.log, config.node.name);
  auto key = load_or_create_key(config.keys.directory);
  if (!key) return key.error();
  std::unique_ptr<Daemon> daemon(
      new Daemon(std::move(config), std::move(config_file), std::move(*key)));
  if (auto opened = daemon->open(); !opened) return opened.error();
  return daemon;
}

Result<void> Daemon::open() {
  auto loop = EventLoop::create();
  if (!loop) return loop.error();
  loop_ = std::move(*loop);
  auto dataplane = LinuxDataplane::open();
  if (!dataplane) return dataplane.error();
  if (auto permitted = (*dataplane)->check_permission(); !permitted) return permitted;
  (*dataplane)->remember_sysctls_in(sysctl_file(config_));
  dataplane_ = std::move(*dataplane);
  dataplane_->set_identity(&key_);
  metrics_ = std::make_unique<Metrics>([this] { return status(); }, clock_);
  auto store = make_store(config_);
  if (!store) return store.error();
  store_ = std::move(*store);
  if (auto admin = make_store_admin(config_)) store_admin_ = std::move(*admin);

  auto paths = PathProber::create(IcmpPathProbe::open(), clock_);
  if (!paths) return paths.error();
  paths_ = std::move(*paths);

  ReconcilerOptions options;
  options.paths = paths_.get();
  options.key = key_.public_key();
  options.key_created = key_time(config_);
  options.version = kVersion;
  options.drain_file = config_.keys.directory / "drained";
  options.publish = [this](NodeRecord record) { store_->publish(std::move(record)); };
  options.forget = [this](const std::string& node) { store_->forget(node); };
  options.report = [this](std::shared_ptr<const Status> status) {
    const std::lock_guard lock(status_mutex_);
    status_.swap(status);  // the old one ends outside of the lock, with the argument
  };
  options.snapshots = open_snapshots();
  options.traffic = open_counts();
  reconciler_ =
      std::make_unique<Reconciler>(*dataplane_, clock_, *metrics_, config_, std::move(options));
  return start_api();
}

// A snapshot that cannot be used is a problem to report, never one to stop for.
SnapshotPort Daemon::open_snapshots() {
  SnapshotPort port;
  const std::filesystem::path path = snapshot_path(config_);
  if (path.empty()) return port;
  auto found = load_snapshot(path, store_identity(config_));
  if (found) {
    port.found = std::move(*found);
    if (port.found) close_at_start(*port.found);
  } else {
    port.damage = found.error().message;
  }
  snapshots_ = std::make_unique<SnapshotWriter>(path);
  port.save = [this](Snapshot snapshot) { snapshots_->save(std::move(snapshot)); };
  port.save_problem = [this] { return snapshots_->problem(); };
  return port;
}

// Before the store's first answer, and before anything that may take its time.
void Daemon::close_at_start(const Snapshot& snapshot) {
  const auto held = hold_closed(*dataplane_, config_, snapshot, key_.public_key(), clock_.now());
  if (!held) {
    log::error("what must encrypt is not held closed yet", {{"reason", held.error().message}});
    return;
  }
  for (const std::string& failure : held->failed)
    log::error("what must encrypt is not held closed yet", {{"reason", failure}});
  if (!held->warning.empty()) log::warn(held->warning);
  if (held->operations != 0)
    log::info("closed what must encrypt, as of the snapshot",
              {{"nodes", std::to_string(held->closed.size())},
               {"operations", std::to_string(held->operations)}});
}

// Beside the snapshot's usual place. Counts that cannot be read begin anew.
TrafficPort Daemon::open_counts() {
  TrafficPort port;
  const std::filesystem::path path =
      (config_.keys.directory / ".." / (config_.node.name + ".traffic")).lexically_normal();
  auto found = read_counts(path);
  if (found) {
    port.found = std::move(*found);
  } else {
    port.damage = found.error().message;
  }
  counts_ = std::make_unique<SaveThread>();
  port.save = [this, path](std::string text) {
    counts_->save([path, text = std::move(text)] { return write_counts(path, text); });
  };
  port.save_problem = [this] { return counts_->problem(); };
  return port;
}

Result<void> Daemon::start_api() {
  ApiOptions options;
  options.socket = config_.api.socket;
  options.listen = config_.api.listen;
  options.version = kVersion;
  options.metrics = [this] { return metrics_->render(); };
  options.store = store_admin_.get();
  auto api = ApiServer::start(std::move(options), *this);
  if (!api) return api.error();
  api_ = std::move(*api);
  return {};
}

Result<void> Daemon::run() {
  const auto stop = [this] {
    log::info("stopping; the data path stays as it is");
    (void)sd_notify(0, "STOPPING=1");
    loop_->quit();
  };
  for (const int signal : {SIGTERM, SIGINT})
    if (auto watched = loop_->on_signal(signal, stop); !watched) return watched;
  if (auto watched = loop_->on_signal(SIGHUP, [this] { (void)reload(); }); !watched) return watched;
  const auto hear = [this] {
    if (reconciler_->on_kernel_events()) act();
  };
  if (auto watched = loop_->on_readable(dataplane_->event_fd(), hear); !watched) return watched;
  const auto measure = [this] {
    if (paths_->run()) act();
  };
  for (const int fd : {paths_->timer_fd(), paths_->probe_fd()})
    if (auto watched = fd < 0 ? Result<void>() : loop_->on_readable(fd, measure); !watched)
      return watched;
  log::info("starting",
            {{"version", std::string(kVersion)}, {"public-key", key_.public_key().to_base64()}});
  store_->start([this](StoreUpdate update) {
    loop_->post([this, update = std::move(update)] {
      reconciler_->on_store_update(update);
      act();
    });
  });
  act();
  auto result = loop_->run();
  stopping_ = true;
  store_->stop();
  reconciler_->finish();
  if (snapshots_) snapshots_->stop();
  if (counts_) counts_->stop();
  return result;
}

void Daemon::act() {
  const MonotonicTime next = reconciler_->pass();
  note_pass();
  if (auto armed = loop_->set_timer(next, [this] { act(); }); !armed)
    log::error(armed.error().message);
}

void Daemon::note_pass() {
  last_pass_ = clock_.now().monotonic.time_since_epoch().count();
  {
    const std::lock_guard lock(ready_mutex_);
    not_ready_ = reconciler_->not_ready();
  }
  if (notified_ready_) return;
  // systemd counts meshd as up when it works, whether or not the store answers yet.
  notified_ready_ = true;
  (void)sd_notify(0, "READY=1");
}

Result<std::string> Daemon::reload() {
  (void)sd_notify(0, "RELOADING=1");
  const auto finish = [](Result<std::string> result) {
    (void)sd_notify(0, "READY=1");
    if (!result)
      log::error("the old configuration stays in force", {{"reason", result.error().message}});
    return result;
  };
  ConfigResult loaded = load_config(config_file_);
  if (const auto* problems = std::get_if<ConfigProblems>(&loaded)) {
    std::string text;
    for (const ConfigProblem& problem : *problems)
      text += (text.empty() ? "" : "\n") + describe(problem);
    metrics_->count_error("reload");
    return finish(make_error(ErrorCode::kInvalid, "{}", text));
  }
  Config& wanted = std::get<Config>(loaded);
  if (const auto keys = changed_but_needs_restart(config_, wanted); !keys.empty()) {
    metrics_->count_error("reload");
    const bool device = std::ranges::find(keys, "wireguard.interface") != keys.end();
    return finish(make_error(
        ErrorCode::kInvalid, "{}: a reload cannot change this: {}", join(keys),
        device ? "two devices cannot run side by side: `meshctl drain`, stop meshd, `meshd "
                 "--cleanup`, then start it with the new name and `meshctl resume`"
               : "restart meshd (the data path stays)"));
  }
  if (auto free = check_port(wanted); !free) {
    metrics_->count_error("reload");
    return finish(free.error());
  }
  config_ = std::move(wanted);
  reconciler_->reconfigure(config_);
  act();
  log::info("the configuration was read again");
  return finish(std::string("reloaded\n"));
}

// Peers are led to the new port before the device listens there: nobody else may.
Result<void> Daemon::check_port(const Config& wanted) {
  const std::uint16_t port = wanted.wireguard.listen_port;
  const auto current = status();
  if (port == config_.wireguard.listen_port || !current || current->backend == Backend::kNone)
    return {};
  if (auto free = udp_port_is_free(port); !free) return free.error().at("wireguard.listenPort");
  return {};
}

// --- the API's threads ---

std::shared_ptr<const Status> Daemon::status() {
  const std::lock_guard lock(status_mutex_);
  return status_;
}

ServiceHealth Daemon::health() {
  const MonotonicTime last{Duration(last_pass_.load())};
  const std::lock_guard lock(ready_mutex_);
  ServiceHealth health;
  health.live = last == MonotonicTime{} || clock_.now().monotonic - last < kStalledAfter;
  health.reason = health.live ? not_ready_ : "the loop has not made a pass for too long";
  health.ready = health.live && not_ready_.empty();
  return health;
}

Result<std::string> Daemon::command(std::string_view name, const nlohmann::json& arguments) {
  if (stopping_) return make_error(ErrorCode::kUnavailable, "meshd is stopping");
  auto promise = std::make_shared<std::promise<Result<std::string>>>();
  auto answer = promise->get_future();
  loop_->post([this, promise, name = std::string(name), arguments] {
    promise->set_value(execute(name, arguments));
  });
  if (answer.wait_for(kCommandTimeout) != std::future_status::ready)
    return make_error(ErrorCode::kTimeout, "meshd is busy: it did not answer within {} s",
                      kCommandTimeout.count());
  return answer.get();
}

Result<std::string> Daemon::allow_plaintext(const std::string& node) {
  if (node.empty())
    return make_error(ErrorCode::kInvalid, "allow-plaintext needs {{\"node\": NAME}}");
  if (auto allowed = reconciler_->allow_downgrade(node); !allowed) return allowed.error();
  act();
  return fmt::format("{} may be without encryption, until it proves a key again\n", node);
}

Result<std::string> Daemon::execute(const std::string& name, const nlohmann::json& arguments) {
  const Result<std::string> node_argument = text_of(arguments, "node", "");
  if (!node_argument) return node_argument.error();
  const std::string& node = *node_argument;
  if (name == "reload") return reload();
  if (name == "allow-plaintext") return allow_plaintext(node);
  if (name == "plan") return reconciler_->preview();
  if (name == "count") return count();
  if (name == "explain") {
    const Result<std::string> other = text_of(arguments, "other", config_.node.name);
    if (!other) return other.error();
    return reconciler_->explain(node, *other);
  }
  if (name == "forget") return forget(node);
  if (name == "may-delete") {
    auto allowed = reconciler_->may_delete(node);
    return allowed ? Result<std::string>(std::string()) : allowed.error();
  }
  const bool drain = name == "drain";
  if (!drain && name != "resume")
    return make_error(ErrorCode::kUnsupported, "this meshd has no command '{}'", name);
  auto begun = drain ? reconciler_->drain() : reconciler_->resume();
  if (!begun) return begun.error();
  act();
  return std::string(drain ? "leaving the mesh\n" : "back in the mesh\n");
}

Result<std::string> Daemon::count() {
  reconciler_->look();
  act();
  return std::string("the counters were read\n");
}

Result<std::string> Daemon::forget(const std::string& node) {
  if (auto forgotten = reconciler_->forget(node); !forgotten) return forgotten.error();
  act();
  return node + ": forgotten on this node\n";
}

// --- --guard ---

Result<std::string> guard(const Config& config) {
  log::configure({LogLevel::kWarn, config.log.format}, config.node.name);
  // It knows more, and holds the guards itself.
  if (somebody_listens(config.api.socket))
    return fmt::format("meshd is running ({} answers): it holds the guards\n",
                       config.api.socket.string());
  const std::filesystem::path path = snapshot_path(config);
  if (path.empty())
    return make_error(ErrorCode::kInvalid,
                      "store.snapshot.path is empty: without a snapshot nobody is known whose "
                      "packets must wait, and nothing is closed before the store answers");
  auto found = load_snapshot(path, store_identity(config));
  if (!found)
    return make_error(ErrorCode::kInvalid,
                      "{}: nothing is closed until meshd runs and the store has answered",
                      found.error().message);
  if (!*found)
    return fmt::format(
        "{} is not there yet: no peer is known, nothing is closed. meshd writes it after the "
        "store's first answer\n",
        path.native());
  auto dataplane = LinuxDataplane::open();
  if (!dataplane) return dataplane.error();
  if (auto permitted = (*dataplane)->check_permission(); !permitted) return permitted.error();
  const auto key = load_key(config.keys.directory);  // without one nothing is a duplicate of it
  const auto held = hold_closed(**dataplane, config, **found, key ? key->public_key() : PublicKey(),
                                SystemClock().now());
  if (!held) return held.error();
  if (!held->failed.empty())
    return make_error(ErrorCode::kIo, "not closed: {}", join(held->failed));
  if (held->closed.empty()) return std::string("no peer must encrypt: nothing to close\n");
  return fmt::format("closed until meshd knows better: {} ({} operations)\n{}", join(held->closed),
                     held->operations, held->warning.empty() ? "" : "but " + held->warning + "\n");
}

// --- --cleanup ---

Result<std::string> clean_up(const Config& config) {
  // Also keeps one from starting meanwhile.
  auto alone = UnixListener::open(config.api.socket);
  if (!alone && alone.error().code == ErrorCode::kBusy)
    return make_error(ErrorCode::kBusy, "meshd is running ({} answers): stop it first",
                      config.api.socket.string());
  if (!alone) return alone.error();
  auto dataplane = LinuxDataplane::open();
  if (!dataplane) return dataplane.error();
  if (auto permitted = (*dataplane)->check_permission(); !permitted) return permitted.error();
  (*dataplane)->remember_sysctls_in(sysctl_file(config));
  const LinuxDataplane::Cleanup done = (*dataplane)->remove_everything(device_spec(config));
  std::string text;
  for (const std::string& what : done.removed) text += "removed: " + what + "\n";
  if (text.empty()) text = "nothing of meshd's was there\n";
  if (done.failed.empty()) return text;
  return make_error(ErrorCode::kIo, "{}not removed: {}", text, join(done.failed));
}

// --- --dry-run ---

Result<std::string> dry_run(const Config& config) {
  log::configure({LogLevel::kWarn, config.log.format}, config.node.name);
  auto key = load_key(config.keys.directory);
  if (!key && key.error().code != ErrorCode::kNotFound) return key.error();
  auto dataplane = LinuxDataplane::open();
  if (!dataplane) return dataplane.error();
  auto store = make_store(config);
  if (!store) return store.error();
  const SystemClock clock;
  std::shared_ptr<const Status> status;
  Metrics metrics([&] { return status; }, clock);
  std::string text;
  ReconcilerOptions options;
  if (key) options.key = key->public_key();
  if (!key) text += "key: make a new one in " + config.keys.directory.string() + "\n";
  options.dry_run = true;
  options.publish = [&](const NodeRecord& record) {
    text += "store: publish the record of " + record.name + "\n";
  };
  options.report = [&](std::shared_ptr<const Status> report) { status = std::move(report); };
  Reconciler reconciler(**dataplane, clock, metrics, config, std::move(options));

  std::promise<StoreUpdate> first;
  std::once_flag once;
  (*store)->start([&](StoreUpdate update) {
    if (update.in_sync) std::call_once(once, [&] { first.set_value(std::move(update)); });
  });
  auto answer = first.get_future();
  if (answer.wait_for(kCommandTimeout) == std::future_status::ready)
    reconciler.on_store_update(answer.get());
  (*store)->stop();
  const std::string plan = reconciler.dry_run();
  return text + plan;
}

}  // namespace mesh
