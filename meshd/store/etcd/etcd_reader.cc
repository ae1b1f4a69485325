#include "meshd/store/etcd/etcd_reader.h"

#include <algorithm>

namespace mesh {
namespace {

// The first answer says of which state all the others have to be.
Result<EtcdStateId> state_of(const etcdserverpb::ResponseHeader& header, const EtcdClient& client) {
  if (header.revision() <= 0)
    return make_error(ErrorCode::kIo, "{}: an answer without a revision: it is no etcd",
                      client.endpoint());
  return EtcdStateId{header.cluster_id(), header.revision()};
}

}  // namespace

Result<void> read_everything(EtcdClient& client, const EtcdKeys& keys, int page, Duration total,
                             EtcdView& view) {
  const MonotonicTime deadline = std::chrono::steady_clock::now() + total;
  EtcdStateId state;
  std::size_t count = 0;
  etcdserverpb::RangeRequest request;
  request.set_key(keys.begin());
  request.set_range_end(keys.end());
  request.set_limit(page);
  while (true) {
    if (std::chrono::steady_clock::now() > deadline)
      return make_error(ErrorCode::kTimeout, "{}: not all below {} could be read in time",
                        client.endpoint(), keys.begin());
    const auto answer = client.range(request);
    if (!answer && answer.error().code == ErrorCode::kInvalid && request.limit() > 1) {
      request.set_limit(request.limit() / 2);
      continue;
    }
    if (!answer) return answer.error();
    if (state.revision == 0) {
      auto first = state_of(answer->header(), client);
      if (!first) return first.error();
      state = *first;
      request.set_revision(state.revision);
      view.start_over();
    }
    for (const auto& pair : answer->kvs()) view.put(pair.key(), pair.value(), pair.mod_revision());
    count += static_cast<std::size_t>(answer->kvs_size());
    if (count > kMaxEtcdKeys)
      return make_error(ErrorCode::kInvalid,
                        "{}: more than {} keys below {}: remove what is not "
                        "meshd's",
                        client.endpoint(), kMaxEtcdKeys, keys.begin());
    if (!answer->more()) break;
    if (answer->kvs().empty() || answer->kvs().rbegin()->key() < request.key())
      return make_error(ErrorCode::kIo, "{}: more keys are promised and none comes: it is no etcd",
                        client.endpoint());
    request.set_key(answer->kvs().rbegin()->key() + '\0');
  }
  view.finish(state);
  return {};
}

}  // namespace mesh
