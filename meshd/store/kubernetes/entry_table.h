// EntryTable: what a store holds and what its observer was told of it, so that only what differs is
// told. One thread. Memory: two shared pointers an entry.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace mesh {

// Change is {std::string name; std::shared_ptr<const Entry> entry;}.
template <class Entry, class Change>
class EntryTable {
 public:
  void put(const std::string& name, Entry entry) {
    Known& known = entries_[name];
    if (known.now != nullptr && *known.now == entry) return;
    known.now = std::make_shared<const Entry>(std::move(entry));
    dirty_.insert(name);
  }
  void remove(const std::string& name) {
    const auto found = entries_.find(name);
    if (found == entries_.end()) return;
    found->second.now = nullptr;
    dirty_.insert(name);
  }
  // Removes all but `names`.
  void keep_only(const std::set<std::string>& names) {
    for (auto& [name, known] : entries_)
      if (!names.contains(name)) remove(name);
  }

  // What differs from what was told.
  std::vector<Change> take_changes() {
    std::vector<Change> changes;
    for (const std::string& name : std::exchange(dirty_, {})) {
      const auto found = entries_.find(name);
      Known& known = found->second;
      const bool same = known.now == known.told || (known.now != nullptr && known.told != nullptr &&
                                                    *known.now == *known.told);
      if (!same) changes.push_back({name, known.now});
      known.told = known.now;
      if (known.now == nullptr) entries_.erase(found);
    }
    return changes;
  }
  // Everything, whatever was told.
  std::vector<Change> take_all() {
    (void)take_changes();
    std::vector<Change> changes;
    for (const auto& [name, known] : entries_) changes.push_back({name, known.now});
    return changes;
  }

 private:
  struct Known {
    std::shared_ptr<const Entry> now;   // null: gone
    std::shared_ptr<const Entry> told;  // null: not told, or told to be gone
  };
  std::map<std::string, Known> entries_;
  std::set<std::string> dirty_;
};

}  // namespace mesh
