// NftablesElements: the elements of the sets in table "inet meshd", and their counters.
//
// One thread at a time; in the network namespace it was opened in. Changes are atomic as a whole,
// up to kMaxRangesPerCommit: no packet sees an element removed before its replacement is there.
// When the kernel refuses a batch it is split until the refused elements are alone, so that one bad
// element costs one element (and the batch its atomicity). Cost: some ten microseconds an element
// in large batches, written or read; one more in a set of 20,000 costs a few milliseconds.
//
// A range is two entries of the kernel's set: its first address, and behind its last an entry that
// ends it. Ranges that touch share an address between the end of one and the start of the next.
#pragma once

#include <span>
#include <vector>

#include "mesh/kernel.h"
#include "mesh/result.h"
#include "meshd/dataplane/netlink_socket.h"

namespace mesh {

// Of ranges in one transaction: keeps its events within a socket's buffer, and it within the send
// buffer. Of more, each so many are one.
inline constexpr std::size_t kMaxRangesPerCommit = 2000;

struct NftElementChange {
  NftElement element;
  bool remove = false;
};

class NftablesElements {
 public:
  static Result<NftablesElements> open();

  // In order; one result for each. Putting an equal element and removing one that is not there are
  // success. kNotFound: the table or the set is gone. kExists: another range overlaps.
  std::vector<Result<void>> apply(std::span<const NftElementChange> changes);

  // Every element of every set, sorted. kNotFound when a set is missing.
  Result<std::vector<NftElement>> read();
  // Those of `sets` that count. A counter starts at 0 when its element is put.
  Result<std::vector<NftCounter>> read_counters(const NftSets& sets = kAllNftSets);

  // The netlink port our transactions come from: how our own events are told from others'.
  std::uint32_t port_id() const { return socket_.port_id(); }

 private:
  explicit NftablesElements(NetlinkSocket socket) : socket_(std::move(socket)) {}
  Result<void> commit(std::span<const NftElementChange> changes);
  void commit_or_split(std::span<const NftElementChange> changes, std::span<Result<void>> results);
  Result<std::vector<NftCounter>> read_set(NftSet set, Family family);

  NetlinkSocket socket_;
};

}  // namespace mesh
