// Reads everything below the prefix, in pages, as it was at one revision. One thread; blocks for
// the calls. A page that is too large for one answer is asked for again in halves.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "meshd/store/etcd/etcd_client.h"
#include "meshd/store/etcd/etcd_keys.h"

namespace mesh {

struct EtcdSnapshotId {
  std::uint64_t cluster = 0;
  std::int64_t revision = 0;
};

// `begin` is called once, before the first key.
Result<EtcdSnapshotId> read_all_keys(
    EtcdClient& client, const EtcdKeys& keys, int page,
    const std::function<void(std::uint64_t cluster)>& begin,
    const std::function<void(const etcdserverpb::KeyValue&)>& each);

}  // namespace mesh
