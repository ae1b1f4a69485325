// DirectoryWatch: what inotify says of the folders of one directory and of the path that leads to
// it. One thread.
//
// Watching is a help, not a promise: the kernel may grant no watch, and events can be lost. Both
// are said, and the answer to both is to read the directory again.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "mesh/unique_fd.h"

namespace mesh {

class DirectoryWatch {
 public:
  struct Events {
    // By folder and file, the last event of each. True: somebody has finished writing it, or put it
    // there. False: it appeared, perhaps half-written, or vanished.
    std::map<std::string, std::map<std::string, bool>> written;
    bool moved = false;  // the path may lead to another directory now, or to none
    bool lost = false;   // there were more events than the kernel keeps
  };

  DirectoryWatch() = default;  // watches nothing

  // Watches `folders` of `directory`, whose events before this call are not reported; one that is
  // missing is seen to appear. False: not watched (no inotify instance or no watch is left);
  // problem() says why.
  bool watch(const std::filesystem::path& directory, const std::vector<std::string>& folders);
  bool active() const { return static_cast<bool>(fd_); }
  const std::string& problem() const { return problem_; }  // "" when all is well

  int fd() const { return fd_.get(); }  // readable when events wait; -1: watches nothing
  Events drain();                       // never blocks

 private:
  UniqueFd fd_;
  int directory_ = -1;                  // a watch descriptor
  std::map<int, std::string> watched_;  // the folders', by watch descriptor
  std::vector<std::string> folders_;
  std::string problem_;
  std::vector<std::byte> buffer_;
};

}  // namespace mesh
