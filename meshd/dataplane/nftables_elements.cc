#include "meshd/dataplane/nftables_elements.h"

#include <arpa/inet.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/set.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <optional>
#include <string>

#include "meshd/dataplane/nftables_ruleset.h"

namespace mesh {
namespace {

constexpr std::array kFamilies{Family::kIpv4, Family::kIpv6};
// Of ranges in one message: its list of entries is an attribute of at most 64 KiB, and a range
// takes at most 96 bytes of it.
constexpr std::size_t kMaxRangesPerMessage = 500;
struct SetFree {
  void operator()(nftnl_set* set) const { nftnl_set_free(set); }
};
using SetPointer = std::unique_ptr<nftnl_set, SetFree>;
struct IteratorFree {
  void operator()(nftnl_set_elems_iter* iterator) const { nftnl_set_elems_iter_destroy(iterator); }
};
using IteratorPointer = std::unique_ptr<nftnl_set_elems_iter, IteratorFree>;

// One entry of the kernel's set.
struct Entry {
  IpAddress key;
  bool end = false;
  std::uint64_t packets = 0;
  std::uint64_t bytes = 0;
};

Family family_of(const NftElement& element) { return element.range.first.family(); }

bool same_message(const NftElementChange& a, const NftElementChange& b) {
  return a.remove == b.remove && a.element.set == b.element.set &&
         family_of(a.element) == family_of(b.element);
}

SetPointer make_set(const std::string& name) {
  SetPointer set(nftnl_set_alloc());
  if (!set) throw std::bad_alloc();
  nftnl_set_set_str(set.get(), NFTNL_SET_TABLE, std::string(kNftTable).c_str());
  nftnl_set_set_str(set.get(), NFTNL_SET_NAME, name.c_str());
  nftnl_set_set_u32(set.get(), NFTNL_SET_FAMILY, NFPROTO_INET);
  return set;
}

void add_entry(nftnl_set* set, const IpAddress& key, bool end) {
  nftnl_set_elem* entry = nftnl_set_elem_alloc();
  if (entry == nullptr) throw std::bad_alloc();
  const auto bytes = key.bytes();
  (void)nftnl_set_elem_set(entry, NFTNL_SET_ELEM_KEY, bytes.data(),
                           static_cast<std::uint32_t>(bytes.size()));
  if (end) nftnl_set_elem_set_u32(entry, NFTNL_SET_ELEM_FLAGS, NFT_SET_ELEM_INTERVAL_END);
  nftnl_set_elem_add(set, entry);  // owns it now
}

// A range that reaches the end of the address space is left open.
void add_range(nftnl_set* set, const IpRange& range) {
  add_entry(set, range.first, false);
  const bool open = range.last == range.last.last_in(0);
  if (!open) add_entry(set, range.last.next(), true);
}

// Precondition: all changes belong in one message.
NetlinkMessage encode(std::span<const NftElementChange> changes, std::vector<char>& buffer) {
  const NftElementChange& head = changes.front();
  const SetPointer set = make_set(nft_set_name(head.element.set, family_of(head.element)));
  for (const NftElementChange& change : changes) add_range(set.get(), change.element.range);
  const std::uint16_t type = head.remove ? NFT_MSG_DELSETELEM : NFT_MSG_NEWSETELEM;
  const std::uint16_t flags = head.remove ? 0 : NLM_F_CREATE;
  nlmsghdr* message = nftnl_nlmsg_build_hdr(buffer.data(), type, NFPROTO_INET, flags, 0);
  nftnl_set_elems_nlmsg_build_payload(message, set.get());
  return NetlinkMessage(*message);
}

NetlinkMessage batch_edge(std::uint16_t type) {
  NetlinkMessage message(type, 0);
  message.put_header(nfgenmsg{
      .nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0, .res_id = htons(NFNL_SUBSYS_NFTABLES)});
  return message;
}

std::optional<Entry> decode_entry(const nftnl_set_elem* element, Family family) {
  // libnftnl has no const getters.
  auto* mutable_element = const_cast<nftnl_set_elem*>(element);
  std::uint32_t size = 0;
  const void* key = nftnl_set_elem_get(mutable_element, NFTNL_SET_ELEM_KEY, &size);
  if (key == nullptr || size != static_cast<std::uint32_t>(address_bytes(family)))
    return std::nullopt;
  Entry entry{*IpAddress::from_bytes({static_cast<const std::uint8_t*>(key), size})};
  if (nftnl_set_elem_is_set(element, NFTNL_SET_ELEM_FLAGS))
    entry.end = (nftnl_set_elem_get_u32(mutable_element, NFTNL_SET_ELEM_FLAGS) &
                 NFT_SET_ELEM_INTERVAL_END) != 0;
  if (nftnl_set_elem_is_set(element, NFTNL_SET_ELEM_EXPR)) {
    const auto* counter = static_cast<const nftnl_expr*>(
        nftnl_set_elem_get(mutable_element, NFTNL_SET_ELEM_EXPR, &size));
    if (nftnl_expr_is_set(counter, NFTNL_EXPR_CTR_PACKETS) &&
        std::string_view(nftnl_expr_get_str(counter, NFTNL_EXPR_NAME)) == "counter") {
      entry.packets = nftnl_expr_get_u64(counter, NFTNL_EXPR_CTR_PACKETS);
      entry.bytes = nftnl_expr_get_u64(counter, NFTNL_EXPR_CTR_BYTES);
    }
  }
  return entry;
}

Result<void> decode_entries(const nlmsghdr& message, Family family, std::vector<Entry>& entries) {
  const auto malformed = [] {
    return make_error(ErrorCode::kInvalid, "the kernel sent a malformed set element");
  };
  const SetPointer set(nftnl_set_alloc());
  if (!set || nftnl_set_elems_nlmsg_parse(&message, set.get()) != 0) return malformed();
  const IteratorPointer iterator(nftnl_set_elems_iter_create(set.get()));
  if (!iterator) return malformed();
  while (const nftnl_set_elem* element = nftnl_set_elems_iter_next(iterator.get())) {
    const auto entry = decode_entry(element, family);
    if (!entry) return malformed();
    entries.push_back(*entry);
  }
  return {};
}

// Joins starts and ends. An end without a start is what nft puts before the first range.
std::vector<NftCounter> to_ranges(NftSet set, std::vector<Entry> entries) {
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return a.key != b.key ? a.key < b.key : a.end && !b.end;
  });
  std::vector<NftCounter> ranges;
  bool open = false;
  for (const Entry& entry : entries) {
    if (open) ranges.back().element.range.last = entry.key.previous();
    open = !entry.end;
    if (open)
      ranges.push_back({{set, {entry.key, entry.key.last_in(0)}}, entry.packets, entry.bytes});
  }
  return ranges;
}

// Whether splitting may find elements that succeed. A put fails with ENOENT only for the want of
// its set.
bool is_worth_splitting(std::span<const NftElementChange> changes, const Error& error) {
  switch (error.sys_errno) {
    case EEXIST:
    case EINVAL:
    case ENOTEMPTY:
      return changes.size() > 1;
    case ENOENT:
      return changes.size() > 1 && std::any_of(changes.begin(), changes.end(),
                                               [](const auto& change) { return change.remove; });
    default:
      return false;
  }
}

Error explain(const NftElementChange& change, const Error& error) {
  const std::string place =
      fmt::format("{} nftables element {} {} {}", change.remove ? "remove" : "put",
                  change.element.range.to_string(), change.remove ? "of" : "in",
                  nft_set_name(change.element.set, family_of(change.element)));
  if (error.sys_errno == ENOTEMPTY || error.sys_errno == EEXIST)
    return Error{ErrorCode::kExists, place + ": another range overlaps it", error.sys_errno};
  return error.at(place);
}

}  // namespace

Result<NftablesElements> NftablesElements::open() {
  auto socket = NetlinkSocket::open(NETLINK_NETFILTER);
  if (!socket) return socket.error().at("nftables");
  return NftablesElements(std::move(*socket));
}

Result<void> NftablesElements::commit(std::span<const NftElementChange> changes) {
  std::vector<NetlinkMessage> batch;
  batch.push_back(batch_edge(NFNL_MSG_BATCH_BEGIN));
  std::vector<char> buffer(std::size_t{128} * 1024);
  while (!changes.empty()) {
    std::size_t count = 1;
    while (count < changes.size() && count < kMaxRangesPerMessage &&
           same_message(changes.front(), changes[count]))
      ++count;
    batch.push_back(encode(changes.first(count), buffer));
    changes = changes.subspan(count);
  }
  batch.push_back(batch_edge(NFNL_MSG_BATCH_END));
  return socket_.commit(batch);
}

void NftablesElements::commit_or_split(std::span<const NftElementChange> changes,
                                       std::span<Result<void>> results) {
  auto result = commit(changes);
  if (result) return;
  if (is_worth_splitting(changes, result.error())) {
    const std::size_t half = changes.size() / 2;
    commit_or_split(changes.first(half), results.first(half));
    commit_or_split(changes.subspan(half), results.subspan(half));
    return;
  }
  for (std::size_t i = 0; i < changes.size(); ++i) {
    const bool gone = changes[i].remove && result.error().sys_errno == ENOENT;
    if (!gone) results[i] = explain(changes[i], result.error());
  }
}

std::vector<Result<void>> NftablesElements::apply(std::span<const NftElementChange> changes) {
  std::vector<Result<void>> results(changes.size());
  for (std::size_t at = 0; at < changes.size(); at += kMaxRangesPerCommit) {
    const std::size_t count = std::min(kMaxRangesPerCommit, changes.size() - at);
    commit_or_split(changes.subspan(at, count), std::span(results).subspan(at, count));
  }
  return results;
}

Result<std::vector<NftCounter>> NftablesElements::read_set(NftSet set, Family family) {
  const std::string name = nft_set_name(set, family);
  auto entries = retry_interrupted([&]() -> Result<std::vector<Entry>> {
    std::vector<Entry> found;
    NetlinkMessage request(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETSETELEM, NLM_F_DUMP);
    request.put_header(
        nfgenmsg{.nfgen_family = NFPROTO_INET, .version = NFNETLINK_V0, .res_id = 0});
    request.put_string(NFTA_SET_ELEM_LIST_TABLE, kNftTable);
    request.put_string(NFTA_SET_ELEM_LIST_SET, name);
    auto dumped = socket_.dump(
        request, [&](const nlmsghdr& message) { return decode_entries(message, family, found); });
    if (!dumped) return std::move(dumped).error();
    return found;
  });
  if (!entries) return entries.error().at("read nftables set " + name);
  return to_ranges(set, std::move(*entries));
}

Result<std::vector<NftElement>> NftablesElements::read() {
  std::vector<NftElement> elements;
  for (int set = 0; set < kNftSetCount; ++set)
    for (const Family family : kFamilies) {
      auto ranges = read_set(static_cast<NftSet>(set), family);
      if (!ranges) return std::move(ranges).error();
      for (const NftCounter& range : *ranges) elements.push_back(range.element);
    }
  return elements;
}

Result<std::vector<NftCounter>> NftablesElements::read_counters(const NftSets& sets) {
  std::vector<NftCounter> counters;
  for (int set = 0; set < kNftSetCount; ++set)
    for (const Family family : kFamilies) {
      if (!sets[static_cast<std::size_t>(set)] || !nft_set_counts(static_cast<NftSet>(set)))
        continue;
      auto ranges = read_set(static_cast<NftSet>(set), family);
      if (!ranges) return std::move(ranges).error();
      counters.insert(counters.end(), ranges->begin(), ranges->end());
    }
  return counters;
}

}  // namespace mesh
