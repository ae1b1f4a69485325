#include "meshd/store/etcd/etcd_reader.h"

#include <algorithm>

namespace mesh {

Result<EtcdSnapshotId> read_all_keys(
    EtcdClient& client, const EtcdKeys& keys, int page,
    const std::function<void(std::uint64_t cluster)>& begin,
    const std::function<void(const etcdserverpb::KeyValue&)>& each) {
  EtcdSnapshotId id;
  etcdserverpb::RangeRequest request;
  request.set_key(keys.begin());
  request.set_range_end(keys.end());
  request.set_limit(page);
  while (true) {
    const auto answer = client.range(request);
    if (!answer && answer.error().code == ErrorCode::kInvalid && request.limit() > 1) {
      request.set_limit(request.limit() / 2);
      continue;
    }
    if (!answer) return answer.error();
    if (id.revision == 0) {
      id = {answer->header().cluster_id(), answer->header().revision()};
      if (id.revision <= 0)
        return make_error(ErrorCode::kIo, "{}: an answer without a revision: it is no etcd",
                          client.endpoint());
      request.set_revision(id.revision);
      begin(id.cluster);
    }
    for (const auto& pair : answer->kvs()) each(pair);
    if (!answer->more()) return id;
    if (answer->kvs().empty() || answer->kvs().rbegin()->key() < request.key())
      return make_error(ErrorCode::kIo, "{}: more keys are promised and none comes: it is no etcd",
                        client.endpoint());
    request.set_key(answer->kvs().rbegin()->key() + '\0');
  }
}

}  // namespace mesh
