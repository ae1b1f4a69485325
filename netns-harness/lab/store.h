// RecordStore: the lab's directory store(s), as a person or another tool would write to them; and
// the relay that makes one store out of a directory per node, with a delay per node.
//
// One shared directory by default. With a relay, what node x publishes in its own directory appears
// in node y's after y's delay: so one side of a pair learns late. Relay threads are the only users
// of a directory besides meshd and the scenario; replacing a file is atomic.
#pragma once

#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "lab/wait.h"

namespace mesh::lab {

class RecordStore {
 public:
  // `path` is store.directory.path; its nodes/ is made when a record is first written.
  explicit RecordStore(std::string path);

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::string file_of(const std::string& node) const;
  [[nodiscard]] bool has(const std::string& node) const;
  [[nodiscard]] std::string read(const std::string& node) const;  // empty: no record
  void write(const std::string& node, const std::string& text) const;
  void remove(const std::string& node) const;
  [[nodiscard]] std::vector<std::string> nodes() const;  // names with a record
  // Replaces one annotation, as another tool that edits the record would. Empty value: removes it.
  void set_annotation(const std::string& node, const std::string& key,
                      const std::string& value) const;
  [[nodiscard]] std::string annotation(const std::string& node, const std::string& key) const;

 private:
  std::string path_;
};

class StoreRelay {
 public:
  // `stores`: by node name. Runs until destroyed.
  explicit StoreRelay(std::map<std::string, RecordStore> stores);
  ~StoreRelay();
  StoreRelay(const StoreRelay&) = delete;
  StoreRelay& operator=(const StoreRelay&) = delete;

  // From now on, news reaches `node` this late.
  void delay(const std::string& node, milliseconds by);
  // While paused, `node` neither hears nor is heard.
  void pause(const std::string& node, bool paused);

 private:
  struct Delivery {
    Clock::time_point due;
    std::string to;
    std::string record;
    std::string text;  // empty: removed
  };
  void work();
  void notice_news(Clock::time_point now);
  void deliver_due(Clock::time_point now);

  std::map<std::string, RecordStore> stores_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool ending_ = false;
  std::map<std::string, milliseconds> delays_;
  std::map<std::string, bool> paused_;
  std::map<std::string, std::string> published_;  // what each node was last seen to say of itself
  std::vector<Delivery> under_way_;
  std::thread thread_;
};

}  // namespace mesh::lab
