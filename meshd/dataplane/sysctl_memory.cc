#include "meshd/dataplane/sysctl_memory.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <fstream>
#include <sstream>

#include "meshd/dataplane/errors.h"
#include "meshd/dataplane/sysctl.h"

namespace mesh {

std::vector<SysctlMemory::Entry> SysctlMemory::read() const {
  std::vector<Entry> entries;
  std::ifstream file(file_);
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string link;
    std::string name;
    Entry entry;
    if (!(words >> link >> name >> entry.before.value >> entry.ours)) continue;
    for (const LinkSysctl sysctl : {LinkSysctl::kRpFilter, LinkSysctl::kSrcValidMark}) {
      if (to_string(sysctl) != name) continue;
      entry.before.link = link;
      entry.before.sysctl = sysctl;
      entries.push_back(entry);
    }
  }
  return entries;
}

Result<void> SysctlMemory::write(const std::vector<Entry>& entries) const {
  const std::string fresh = file_ + ".new";
  {
    std::ofstream file(fresh, std::ios::trunc);
    for (const Entry& entry : entries)
      file << entry.before.link << ' ' << to_string(entry.before.sysctl) << ' '
           << entry.before.value << ' ' << entry.ours << '\n';
    file.flush();
    if (!file) return error_from_errno(errno, fmt::format("remember kernel settings in {}", fresh));
  }
  if (std::rename(fresh.c_str(), file_.c_str()) != 0)
    return error_from_errno(errno, fmt::format("remember kernel settings in {}", file_));
  return {};
}

Result<void> SysctlMemory::change(const LinkSetting& setting) {
  if (file_.empty()) return write_link_sysctl(setting);
  const auto before = read_link_sysctl(setting.link, setting.sysctl);
  if (!before) return before.error();
  std::vector<Entry> entries = read();
  const auto known = std::find_if(entries.begin(), entries.end(), [&](const Entry& entry) {
    return entry.before.link == setting.link && entry.before.sysctl == setting.sysctl;
  });
  // Changed again after somebody else changed it: what they want now is what they get back.
  const Entry entry{{setting.link, setting.sysctl, *before}, setting.value};
  if (known == entries.end()) {
    entries.push_back(entry);
  } else if (*before != known->ours) {
    *known = entry;
  }
  if (auto written = write(entries); !written) return written;
  return write_link_sysctl(setting);
}

Result<std::vector<LinkSetting>> SysctlMemory::give_back() {
  std::vector<LinkSetting> given;
  if (file_.empty()) return given;
  for (const Entry& entry : read()) {
    // The link may be gone, or somebody may have set another value since: theirs stays.
    const auto now = read_link_sysctl(entry.before.link, entry.before.sysctl);
    if (!now || *now != entry.ours) continue;
    if (auto written = write_link_sysctl(entry.before); !written) return written.error();
    given.push_back(entry.before);
  }
  if (::unlink(file_.c_str()) != 0 && errno != ENOENT)
    return error_from_errno(errno, fmt::format("remove {}", file_));
  return given;
}

}  // namespace mesh
