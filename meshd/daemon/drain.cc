#include "meshd/daemon/drain.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <string>
#include <system_error>
#include <utility>

#include "mesh/unique_fd.h"

namespace mesh {
namespace {

Error file_error(const std::filesystem::path& file, const char* what) {
  const int error = errno;
  return {ErrorCode::kIo,
          fmt::format("{}: cannot {} ({}): see keys.directory", file.string(), what,
                      std::generic_category().message(error)),
          error};
}

Result<void> sync_directory_of(const std::filesystem::path& file) {
  const UniqueFd directory(::open(file.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory && ::fsync(directory.get()) == 0) return {};
  return file_error(file.parent_path(), "write the directory");
}

}  // namespace

Drain::Drain(std::filesystem::path file) : file_(std::move(file)) {
  std::ifstream kept(file_);
  std::string word;
  // Whatever stands in the file: that it is there says that somebody wanted this node out.
  if (file_.empty() || !kept) return;
  phase_ = kept >> word && word == to_string(DrainPhase::kLeft) ? DrainPhase::kLeft
                                                                : DrainPhase::kLeaving;
}

Result<void> Drain::write(DrainPhase phase) const {
  if (file_.empty()) return {};
  const std::string text = std::string(to_string(phase)) + "\n";
  const UniqueFd file(
      ::open(file_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file || ::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
      ::fsync(file.get()) != 0)
    return file_error(file_, "be written");
  return sync_directory_of(file_);
}

Result<void> Drain::done() {
  phase_ = DrainPhase::kLeft;
  return write(phase_);
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
    if (::unlink(file_.c_str()) != 0 && errno != ENOENT) return file_error(file_, "be removed");
    if (auto synced = sync_directory_of(file_); !synced) return synced;
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

bool Drain::quiet(MonotonicTime now) const {
  const auto at = next();
  return at && now >= *at;
}

std::optional<MonotonicTime> Drain::next() const {
  if (phase_ != DrainPhase::kLeaving || !withdrawn_since_) return std::nullopt;
  return std::max(*withdrawn_since_, last_heard_) + kQuiet;
}

}  // namespace mesh
