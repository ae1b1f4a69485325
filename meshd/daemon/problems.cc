#include "meshd/daemon/problems.h"

#include <utility>

#include "meshd/daemon/log.h"

namespace mesh {

void Problems::note(const std::string& place, const std::string& message) {
  auto [it, inserted] = problems_.try_emplace(place, message);
  if (!inserted && it->second == message) return;
  it->second = message;
  ++revision_;
  log::error(message, {{"operation", place}});
}

void Problems::clear(const std::string& place) {
  if (problems_.erase(place) == 0) return;
  ++revision_;
  log::info("resolved", {{"operation", place}});
}

const std::string* Problems::at(const std::string& place) const {
  const auto found = problems_.find(place);
  return found == problems_.end() ? nullptr : &found->second;
}

void Problems::set_all(const std::string& origin,
                       const std::map<std::string, std::string>& problems) {
  for (const auto& [place, message] : std::exchange(by_origin_[origin], problems))
    if (!problems.contains(place)) clear(place);
  for (const auto& [place, message] : problems) note(place, message);
}

std::vector<std::string> Problems::messages() const {
  std::vector<std::string> messages;
  for (const auto& [place, message] : problems_) messages.push_back(message);
  return messages;
}

}  // namespace mesh
