// HttpClient: requests to an API server, many at a time on one thread, over libcurl. The only user
// of libcurl.
//
// Threads: one thread drives it (start, cancel, run); wake() is for any thread. Callbacks come from
// run() on that thread; on_done may start and cancel transfers, the others may not.
// Cost: transfers to one server share one HTTP/2 connection where it speaks that and the first of
// them has been answered, so that an answer to one request says that the connection of all of them
// lives. Never: follows a redirect, sends a request twice, buffers more of an answer than was asked
// for (what is streamed to a callback is bounded by that callback), puts a token into an error.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mesh/clock.h"
#include "mesh/result.h"
#include "meshd/store/kubernetes/access.h"

namespace mesh {

struct ApiRequest {
  std::string method = "GET";
  std::string path;          // from the server's root, with the query
  std::string content_type;  // of `body`
  std::string body;
  std::size_t max_answer = std::size_t{1} << 20;  // a larger one fails (kInvalid)
  Duration total{};                               // 0: as long as it takes (a watch)
  Duration silence{};  // without a byte for this long: fails (kTimeout); 0: silence is fine
};

struct ApiReply {
  long status = 0;
  std::string body;      // of what was not given to on_data
  std::string location;  // of a redirect
  std::optional<std::chrono::seconds> retry_after;
};

std::string url_encoded(std::string_view text);  // for a value in a query

class HttpClient {
 public:
  using Id = std::uint64_t;  // 0: none
  struct Callbacks {
    // The last callback of a transfer. An error: no whole answer came (kUnavailable, kTimeout,
    // kInvalid, kPermission for a certificate that is not to be trusted).
    std::function<void(Result<ApiReply>)> on_done;
    std::function<void()> on_success = {};  // the answer begins, and its status is 200
    // A piece of an answer of status 200; false ends the transfer, and on_done gets no error.
    // Without it, the answer is gathered in ApiReply::body, as that of a failed request always
    // is.
    std::function<bool(std::string_view)> on_data = {};
  };

  HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;
  HttpClient(HttpClient&&) = delete;
  HttpClient& operator=(HttpClient&&) = delete;
  ~HttpClient();

  Id start(const KubernetesAccess& access, const std::string& token, ApiRequest request,
           Callbacks callbacks);
  void cancel(Id id);  // no callback any more; an unknown id is fine
  // Ends all transfers, without a callback, and closes all connections: the next are new.
  void reset();
  // Transfers data and calls back, for at most `timeout`; returns early when something happened.
  void run(Duration timeout);
  void wake();

 private:
  struct Transfer;
  bool transfer_data();  // what can be without waiting; whether there was a callback
  void finish(Id id, int code);

  struct Handles;
  std::unique_ptr<Handles> handles_;
  std::map<Id, std::unique_ptr<Transfer>> transfers_;
  Id last_id_ = 0;
  bool called_back_ = false;
};

}  // namespace mesh
