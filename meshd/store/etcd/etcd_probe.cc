#include "meshd/store/etcd/etcd_probe.h"

#include <utility>

#include "meshd/store/etcd/etcd_own.h"

namespace mesh {

std::optional<EtcdWatch::End> EtcdProbe::begin(bool proxied, EtcdClient& client,
                                               const EtcdView& view, Duration patience) {
  due_.reset();
  if (!proxied) return std::nullopt;
  auto end = read(client, view, patience);
  due_ = std::chrono::steady_clock::now();
  heard(*due_);
  return end;
}

void EtcdProbe::heard(MonotonicTime now) {
  if (due_) due_ = now + with_jitter(options_.probe_after, random_);
}

std::optional<EtcdWatch::End> EtcdProbe::ask(EtcdClient& client, const EtcdView& view,
                                             MonotonicTime now) {
  if (!due_ || now < *due_) return std::nullopt;
  heard(now);
  return read(client, view, options_.probe_timeout);
}

std::optional<EtcdWatch::End> EtcdProbe::read(EtcdClient& client, const EtcdView& view,
                                              Duration patience) {
  etcdserverpb::RangeRequest request;
  request.set_key(keys_.begin());
  const Duration usual = client.timeout();
  client.set_timeout(patience);
  const auto answer = client.range(request);
  client.set_timeout(usual);
  if (!answer)
    return EtcdWatch::End{
        answer.error().at("etcd itself does not answer, or whoever is before it")};
  // Revisions of another state: the watch waits for one that may never come.
  const std::string why =
      view.why_back({answer->header().cluster_id(), answer->header().revision()});
  if (why.empty()) return std::nullopt;
  return EtcdWatch::End{make_error(ErrorCode::kUnavailable, "{}: {}", client.endpoint(), why),
                        /*read_again=*/true};
}

}  // namespace mesh
