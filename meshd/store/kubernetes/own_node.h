// OwnNode: keeps meshd's annotations of this machine's Node as they were asked for, and writes
// nothing else of it, and of no other Node.
//
// One thread, that of its ApiClients. Each write is a read of that one Node, and a merge patch only
// when an annotation differs; both cost the server one key. It writes when it is asked to, again
// until that succeeded, and then no more: whether what somebody else overwrote is to be put back is
// not decided here.
#pragma once

#include <optional>
#include <string>

#include "mesh/clock.h"
#include "mesh/node_record.h"
#include "meshd/store/kubernetes/api_client.h"
#include "meshd/store/kubernetes/retry_pause.h"

namespace mesh {

class OwnNode {
 public:
  // Two identities, which may be one: who may read Nodes need not be the one who may write its own.
  OwnNode(ApiClient& reader, ApiClient& writer, Duration retry_first, Duration retry_cap)
      : reader_(reader), writer_(writer), pause_(retry_first, retry_cap) {}

  void set(const NodeRecord& record, MonotonicTime now);
  void step(MonotonicTime now);
  MonotonicTime due() const;          // when step() has something to do
  void retry_now(MonotonicTime now);  // the server is back: no reason to wait any longer
  void abandon();                     // ends what is under way; it remains to be done
  // Why the last attempt failed; "" when it did not.
  const std::string& problem() const { return problem_; }

 private:
  void begin(ApiClient& api, ApiRequest request, void (OwnNode::*on_done)(const ApiReply& answer));
  void read();
  void on_read(const ApiReply& answer);
  void patch(std::string body);
  void on_patched(const ApiReply& answer);
  void done();
  void no_such_node();
  void fail(ApiFailure failure);

  ApiClient& reader_;
  ApiClient& writer_;
  RetryPause pause_;
  std::string name_;
  std::map<std::string, std::string> wanted_;
  std::map<std::string, std::string> writing_;  // what the request under way is about
  std::optional<MonotonicTime> due_;            // empty: written
  ApiClient* busy_ = nullptr;                   // whose request `transfer_` is
  HttpClient::Id transfer_ = 0;                 // 0: none is under way
  std::string problem_;
};

}  // namespace mesh
