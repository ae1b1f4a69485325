// ResourceWatch: one collection of the Kubernetes API (Nodes, EncryptionPolicies), listed in pages
// and then watched from there.
//
// One thread, that of its ApiClient; step() starts what is due, and everything else happens in
// callbacks. It says what it sees to a Handler, and never decides.
//
// A watch that ends (the server ends each after some minutes, a connection breaks) is resumed where
// it was, at no cost to the server. Only when that fails is the collection out of sync, and then it
// is listed again: what a watch missed meanwhile it does not tell. A resume point that the server
// has forgotten (410) is a new list and no outage.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "mesh/clock.h"
#include "meshd/store/kubernetes/api_client.h"
#include "meshd/store/kubernetes/retry_pause.h"

namespace mesh {

struct ResourceWatchOptions {
  std::string path;            // "/api/v1/nodes"
  std::string what;            // for messages: "Nodes"
  bool may_be_absent = false;  // a custom resource: not served (404) means that there are none
  int page = 250;              // objects; a Node of a busy cluster has some 20 KB
  // A custom resource is not served either while its server starts: for this long it is not
  // believed.
  Duration absent_at_first = std::chrono::seconds(2);  // none was ever seen
  Duration absent_after = std::chrono::seconds(20);    // there were some
  Duration absent_again = std::chrono::seconds(60);    // how often it is asked for then
  Duration retry_first = std::chrono::milliseconds(100);
  Duration retry_cap = std::chrono::seconds(3);
};

class ResourceWatch {
 public:
  // Called from within callbacks of the HttpClient: must not start or cancel a request.
  struct Handler {
    std::function<void(const std::vector<nlohmann::json>&)> replaced;  // what is there now, whole
    std::function<void(const nlohmann::json&)> changed;  // new, or another than before
    std::function<void(const std::string&)> deleted;
  };

  ResourceWatch(ApiClient& api, ResourceWatchOptions options, Handler handler);

  void step(MonotonicTime now);
  MonotonicTime due() const { return due_; }  // when step() has something to do
  // The collection is known, and a watch tells what becomes of it.
  bool synced() const { return synced_; }
  // A watch is open: only it, or a probe, will tell when the server is gone.
  bool watching() const { return state_ == State::kWatching && answered_; }
  bool under_way() const { return state_ != State::kWaiting; }
  MonotonicTime last_heard() const { return last_heard_; }
  const std::string& problem() const { return problem_; }  // why not synced; "" at the very start
  // How it is known that the server's own store holds an earlier state than what was listed or
  // watched before, since this was last asked; "": nothing says so.
  std::string take_went_back() { return std::exchange(went_back_, {}); }
  // Whether an answer did not come in time since this was last asked: then the connection may be
  // dead.
  bool take_timeout() { return std::exchange(timed_out_, false); }
  // Ends what is under way; tries again after a pause.
  void fail(ApiFailure failure, MonotonicTime now);

 private:
  enum class State { kWaiting, kListing, kWatching };

  void list(MonotonicTime now);
  void on_page(Result<ApiReply> answer);
  void list_again(MonotonicTime now);
  void note_version(bool listed);
  void finish_list(MonotonicTime now);
  void not_served(const ApiReply& answer, MonotonicTime now);
  void watch(MonotonicTime now);
  bool on_data(std::string_view piece);
  bool on_event(std::string_view line);
  void on_watch_end(Result<ApiReply> answer);
  void resume(MonotonicTime now);
  void begin(State state, ApiRequest request, HttpClient::Callbacks callbacks, MonotonicTime now);
  Error unreadable(std::string_view why) const;

  ApiClient& api_;
  const ResourceWatchOptions options_;
  const Handler handler_;
  RetryPause pause_;

  State state_ = State::kWaiting;
  MonotonicTime due_{};  // kWatching: until when the answer must have begun
  HttpClient::Id transfer_ = 0;
  bool synced_ = false;
  std::string problem_;
  MonotonicTime last_heard_{};
  bool timed_out_ = false;

  std::vector<nlohmann::json> items_;  // of the pages so far
  std::string continue_;
  int restarts_ = 0;  // of one list, by 410
  bool ever_listed_ = false;
  std::optional<MonotonicTime> absent_since_;

  std::string version_;        // where the watch goes on; "": list first
  std::uint64_t highest_ = 0;  // version that was seen; 0: none
  std::string went_back_;
  std::string partial_;  // of a line that has not ended
  MonotonicTime opened_{};
  bool answered_ = false;
  bool expired_ = false;                      // the server said 410 within the stream
  std::optional<ApiFailure> stream_failure_;  // why on_data ended the stream
  int short_lived_ = 0;                       // watches in a row that ended at once
};

}  // namespace mesh
