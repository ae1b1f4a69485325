// SaveThread: does what writes a file on a thread of its own, so that a disk that hangs holds up
// nobody.
//
// save() and problem() from any thread; start to stop on one. A save that fails is tried again with
// back-off; a newer one takes its place.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "mesh/result.h"

namespace mesh {

class SaveThread {
 public:
  using Save = std::function<Result<void>()>;

  SaveThread();  // starts the thread
  SaveThread(const SaveThread&) = delete;
  SaveThread(SaveThread&&) = delete;
  SaveThread& operator=(const SaveThread&) = delete;
  SaveThread& operator=(SaveThread&&) = delete;
  ~SaveThread();

  void save(Save save);  // returns at once; the last one wins
  // Why the last attempt failed; "" when it did not.
  std::string problem() const;
  // Does what waits, trying once, and ends the thread. Idempotent.
  void stop();

 private:
  void work();

  mutable std::mutex mutex_;  // guards the four below
  std::condition_variable wake_;
  Save waiting_;
  std::string problem_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace mesh
