#include "meshd/daemon/drain.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <string>
#include <system_error>
#include <utility>

#include "core/announcement.h"
#include "meshd/daemon/log.h"
#include "meshd/store/record_file.h"

namespace mesh {

Drain::Drain(std::filesystem::path file, Problems& problems)
    : file_(std::move(file)), problems_(problems) {
  std::ifstream kept(file_);
  std::string word;
  // Whatever stands in the file: that it is there says that somebody wanted this node out.
  if (file_.empty() || !kept) return;
  phase_ = kept >> word && word == to_string(DrainPhase::kLeft) ? DrainPhase::kLeft
                                                                : DrainPhase::kLeaving;
}

Result<void> Drain::write(DrainPhase phase) const {
  if (file_.empty()) return {};
  const auto directory = open_directory();
  if (!directory) return directory.error();
  return replace_file(directory->get(), file_.filename(), file_.native(),
                      std::string(to_string(phase)) + "\n", S_IRUSR | S_IWUSR);
}

Result<UniqueFd> Drain::open_directory() const {
  UniqueFd directory(::open(file_.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory) return directory;
  return system_error("be opened");
}

Error Drain::system_error(const char* what) const {
  const int error = errno;
  return {ErrorCode::kIo,
          fmt::format("{}: cannot {} ({}): see keys.directory", file_.native(), what,
                      std::generic_category().message(error)),
          error};
}

Result<void> Drain::leave() {
  if (phase_ != DrainPhase::kNo) return {};
  if (auto written = write(DrainPhase::kLeaving); !written) return written;
  start_over();
  phase_ = DrainPhase::kLeaving;
  return {};
}

Result<void> Drain::come_back() {
  if (!file_.empty()) {
    const auto directory = open_directory();
    if (!directory) return directory.error();
    // Synced, or a crash could drain the node again.
    if ((::unlink(file_.c_str()) != 0 && errno != ENOENT) || ::fsync(directory->get()) != 0)
      return system_error("be removed");
  }
  start_over();
  phase_ = DrainPhase::kNo;
  return {};
}

void Drain::start_over() {
  withdrawn_since_.reset();
  heard_.clear();
  last_heard_ = {};
}

void Drain::observe(const std::map<PublicKey, WgPeer>& peers, bool withdrawn, MonotonicTime now) {
  if (!withdrawn) return start_over();
  if (!withdrawn_since_) withdrawn_since_ = now;
  std::erase_if(heard_, [&](const auto& item) { return !peers.contains(item.first); });
  for (const auto& [key, peer] : peers) {
    const auto [heard, first] = heard_.try_emplace(key, Heard{peer.rx_bytes, *withdrawn_since_});
    if (first || heard->second.rx_bytes == peer.rx_bytes) continue;
    heard->second = {peer.rx_bytes, now};
    last_heard_ = now;
  }
}

std::vector<PublicKey> Drain::still_sending(MonotonicTime now) const {
  std::vector<PublicKey> keys;
  for (const auto& [key, heard] : heard_)
    if (withdrawn_since_ && heard.at > *withdrawn_since_ && now - heard.at < kQuiet)
      keys.push_back(key);
  return keys;
}

bool Drain::steer(const MeshModel& model, const Mirror& mirror, bool store_in_sync,
                  MonotonicTime now) {
  if (phase_ != DrainPhase::kLeaving) return false;
  const NodeRecord* own = model.own_record();
  observe(mirror.peers(), store_in_sync && own != nullptr && !read_announcement(*own).key, now);
  const auto quiet_at = next();
  if (!quiet_at || now < *quiet_at) return false;
  phase_ = DrainPhase::kLeft;
  // Only a restart would care: it begins with leaving again.
  if (auto written = write(phase_); !written) problems_.note("drain", written.error().message);
  log::info("left the mesh: no peer sends through the tunnel any more");
  return true;
}

DrainStatus Drain::status(const MeshModel& model, bool store_in_sync, MonotonicTime now) const {
  DrainStatus status{phase_, ""};
  if (phase_ != DrainPhase::kLeaving) return status;
  if (!withdrawn_since_) {
    status.waits_for = store_in_sync ? "the store to show that the key is withdrawn"
                                     : "the store, which does not answer";
    return status;
  }
  std::string senders;
  for (const PublicKey& key : still_sending(now))
    senders += (senders.empty() ? "" : ", ") + model.name_of_key(key);
  status.waits_for = senders.empty() ? "ten seconds without a packet through the tunnel"
                                     : senders + ": still sending through the tunnel";
  return status;
}

std::optional<MonotonicTime> Drain::next() const {
  if (phase_ != DrainPhase::kLeaving || !withdrawn_since_) return std::nullopt;
  return std::max(*withdrawn_since_, last_heard_) + kQuiet;
}

}  // namespace mesh
