// What is wrong now, by place: each logged once when it comes and once when it is over. Loop thread
// only.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace mesh {

class Problems {
 public:
  void note(const std::string& place, const std::string& message);
  void clear(const std::string& place);
  // The message of a place; null: nothing is wrong there.
  const std::string* at(const std::string& place) const;
  // Those of one origin, by place: what is not among them any more is over.
  void set_all(const std::string& origin, const std::map<std::string, std::string>& problems);
  bool empty() const { return problems_.empty(); }
  // Grows whenever something else is wrong than before.
  std::uint64_t revision() const { return revision_; }
  const std::string& first() const { return problems_.begin()->second; }
  std::vector<std::string> messages() const;

 private:
  std::map<std::string, std::string> problems_;
  std::uint64_t revision_ = 0;
  std::map<std::string, std::map<std::string, std::string>> by_origin_;
};

}  // namespace mesh
