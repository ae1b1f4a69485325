#include "meshd/store/kubernetes/own_node.h"

#include <fmt/format.h>

#include <utility>

#include "meshd/store/kubernetes/api_codec.h"
#include "meshd/store/utf8.h"

namespace mesh {
namespace {

constexpr Duration kTotal = std::chrono::seconds(5);
constexpr std::size_t kMaxNodeBytes = std::size_t{4} << 20;
constexpr Duration kMaxRetryAfter = std::chrono::seconds(60);

MonotonicTime monotonic_now() { return std::chrono::steady_clock::now(); }

}  // namespace

void OwnNode::set(const NodeRecord& record, MonotonicTime now) {
  auto wanted = own_annotations(record);
  // Asking again for what is being tried anyway is no reason to try more often.
  if (due_ && name_ == record.name && wanted_ == wanted) return;
  name_ = record.name;
  wanted_ = std::move(wanted);
  due_ = now;
  pause_.reset();
}

void OwnNode::retry_now(MonotonicTime now) {
  if (due_) due_ = now;
  pause_.reset();
}

MonotonicTime OwnNode::due() const {
  return transfer_ == 0 ? due_.value_or(MonotonicTime::max()) : MonotonicTime::max();
}

void OwnNode::step(MonotonicTime now) {
  if (due() > now) return;
  writing_ = wanted_;
  read();
}

void OwnNode::abandon() {
  if (busy_ != nullptr) busy_->cancel(transfer_);
  transfer_ = 0;
}

void OwnNode::begin(ApiClient& api, ApiRequest request,
                    void (OwnNode::*on_done)(const ApiReply& answer)) {
  request.total = kTotal;
  request.max_answer = kMaxNodeBytes;
  busy_ = &api;
  HttpClient::Callbacks callbacks;
  callbacks.on_done = [this, on_done](Result<ApiReply> answer) {
    transfer_ = 0;
    if (!answer) return fail({answer.error()});
    (this->*on_done)(*answer);
  };
  auto started = api.start(std::move(request), std::move(callbacks));
  if (!started) return fail({started.error()});
  transfer_ = *started;
}

// As a list of one, for which the rights suffice that the store needs anyway.
void OwnNode::read() {
  ApiRequest request;
  request.path = fmt::format("/api/v1/nodes?fieldSelector=metadata.name%3D{}", name_);
  begin(reader_, std::move(request), &OwnNode::on_read);
}

void OwnNode::on_read(const ApiReply& answer) {
  if (answer.status != 200) return fail(reader_.refusal(answer, "list Nodes"));
  const auto list = parse_api_list(answer.body);
  if (!list) return fail({list.error().at(reader_.server())});
  if (list->items.empty() || name_of(list->items.front()) != name_) return no_such_node();
  std::string body = annotations_patch(own_annotations(list->items.front()), writing_);
  if (body.empty()) return done();
  patch(std::move(body));
}

void OwnNode::patch(std::string body) {
  ApiRequest request;
  request.method = "PATCH";
  request.path = fmt::format("/api/v1/nodes/{}?fieldManager=meshd", name_);
  request.content_type = "application/merge-patch+json";
  request.body = std::move(body);
  begin(writer_, std::move(request), &OwnNode::on_patched);
}

void OwnNode::on_patched(const ApiReply& answer) {
  if (answer.status == 404) return no_such_node();
  if (answer.status != 200)
    return fail(writer_.refusal(answer, fmt::format("patch Node {}", name_)));
  done();
}

void OwnNode::done() {
  problem_.clear();
  pause_.reset();
  if (writing_ == wanted_) due_.reset();  // else something newer was asked for meanwhile
}

void OwnNode::no_such_node() {
  fail({make_error(ErrorCode::kNotFound,
                   "{}: there is no Node '{}', and meshd makes none: set node.name (or "
                   "store.kubernetes.nodeName) to a name that `kubectl get nodes` shows",
                   reader_.server(), printable(name_, 253))});
}

void OwnNode::fail(ApiFailure failure) {
  problem_ = std::move(failure.error.message);
  Duration pause = pause_.next();
  if (failure.retry_after)
    pause = std::max<Duration>(pause, std::min<Duration>(*failure.retry_after, kMaxRetryAfter));
  due_ = monotonic_now() + pause;
}

}  // namespace mesh
