// Reads everything below the prefix, in pages, as it was at one revision. One thread; blocks for
// the calls, and no longer than `total` and one call. A page that is too large for one answer is
// asked for again in halves. Never reads without an end: more than kMaxEtcdKeys keys are refused.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "meshd/store/etcd/etcd_client.h"
#include "meshd/store/etcd/etcd_keys.h"
#include "meshd/store/etcd/etcd_view.h"

namespace mesh {

// Three keys a node: many times the largest mesh.
inline constexpr std::size_t kMaxEtcdKeys = 300'000;

// Into `view`, between its start_over() and its finish(). After an error the view is as it was, but
// for what was read already.
Result<void> read_everything(EtcdClient& client, const EtcdKeys& keys, int page, Duration total,
                             EtcdView& view);

}  // namespace mesh
