// SysctlMemory: what kernel settings were before meshd changed them, so that they can be given
// back.
//
// A text file of one line each ("eth0 rp_filter 1 2": link, setting, before, meshd's own), in a
// directory that lives as long as the settings do: until the next boot. Lines that cannot be read
// are ignored: the worst is a setting that stays. One thread at a time.
#pragma once

#include <string>
#include <vector>

#include "mesh/kernel.h"
#include "mesh/result.h"

namespace mesh {

class SysctlMemory {
 public:
  SysctlMemory() = default;  // remembers nothing
  explicit SysctlMemory(std::string file) : file_(std::move(file)) {}

  // Writes the setting; what was there before is on disk by then.
  Result<void> change(const LinkSetting& setting);
  // Puts back what is still as meshd set it, and forgets all. Returns what was put back.
  Result<std::vector<LinkSetting>> give_back();

 private:
  struct Entry {
    LinkSetting before;
    int ours = 0;
  };
  std::vector<Entry> read() const;
  Result<void> write(const std::vector<Entry>& entries) const;

  std::string file_;
};

}  // namespace mesh
