#include "meshd/dataplane/netlink_message.h"

#include <algorithm>
#include <cstring>

namespace mesh {
namespace {

constexpr std::size_t kHeaderSize = NLMSG_HDRLEN;
constexpr std::size_t kAttributeHeaderSize = sizeof(nlattr);

constexpr std::size_t aligned(std::size_t size) { return (size + 3) & ~std::size_t{3}; }

}  // namespace

NetlinkMessage::NetlinkMessage(std::uint16_t type, std::uint16_t flags, std::size_t reserve) {
  bytes_.reserve(std::max(reserve, kHeaderSize));
  bytes_.resize(kHeaderSize);
  nlmsghdr start{};
  start.nlmsg_type = type;
  start.nlmsg_flags = static_cast<std::uint16_t>(flags | NLM_F_REQUEST);
  std::memcpy(bytes_.data(), &start, sizeof start);
}

NetlinkMessage::NetlinkMessage(const nlmsghdr& finished)
    : bytes_(reinterpret_cast<const std::uint8_t*>(&finished),
             reinterpret_cast<const std::uint8_t*>(&finished) + finished.nlmsg_len) {
  bytes_.resize(aligned(bytes_.size()));
}

NetlinkMessage& NetlinkMessage::operator=(NetlinkMessage&& other) noexcept {
  bytes_.swap(other.bytes_);  // ours is wiped when `other` dies
  return *this;
}

NetlinkMessage::~NetlinkMessage() {
  if (!bytes_.empty()) explicit_bzero(bytes_.data(), bytes_.size());
}

void NetlinkMessage::append(Bytes payload) {
  bytes_.insert(bytes_.end(), payload.begin(), payload.end());
  bytes_.resize(aligned(bytes_.size()));
}

void NetlinkMessage::put(std::uint16_t type, Bytes payload) {
  nlattr attribute{};
  attribute.nla_len = static_cast<std::uint16_t>(kAttributeHeaderSize + payload.size());
  attribute.nla_type = type;
  append(bytes_of(attribute));
  append(payload);
}

void NetlinkMessage::put_string(std::uint16_t type, std::string_view text) {
  nlattr attribute{};
  attribute.nla_len = static_cast<std::uint16_t>(kAttributeHeaderSize + text.size() + 1);
  attribute.nla_type = type;
  append(bytes_of(attribute));
  bytes_.insert(bytes_.end(), text.begin(), text.end());
  bytes_.push_back(0);
  bytes_.resize(aligned(bytes_.size()));
}

NetlinkMessage::Nest NetlinkMessage::begin_nest(std::uint16_t type) {
  const Nest nest = bytes_.size();
  nlattr attribute{};
  attribute.nla_type = static_cast<std::uint16_t>(type | NLA_F_NESTED);
  append(bytes_of(attribute));
  return nest;
}

void NetlinkMessage::end_nest(Nest nest) {
  const auto length = static_cast<std::uint16_t>(bytes_.size() - nest);
  std::memcpy(bytes_.data() + nest + offsetof(nlattr, nla_len), &length, sizeof length);
}

void NetlinkMessage::truncate(std::size_t size) {
  if (size < bytes_.size()) bytes_.resize(std::max(size, kHeaderSize));
}

nlmsghdr& NetlinkMessage::header() {
  auto& start = *reinterpret_cast<nlmsghdr*>(bytes_.data());  // operator new aligns to 16 bytes
  start.nlmsg_len = static_cast<std::uint32_t>(bytes_.size());
  return start;
}

Bytes NetlinkMessage::bytes() {
  (void)header();
  return bytes_;
}

std::uint16_t NetlinkMessage::flags() const {
  return reinterpret_cast<const nlmsghdr*>(bytes_.data())->nlmsg_flags;
}

std::string_view NetlinkAttribute::as_string() const {
  const std::string_view text(reinterpret_cast<const char*>(payload.data()), payload.size());
  return text.substr(0, text.find('\0'));
}

std::optional<NetlinkAttribute> AttributeReader::next() {
  if (rest_.empty() || malformed_) return std::nullopt;
  nlattr attribute{};
  if (rest_.size() >= sizeof attribute) std::memcpy(&attribute, rest_.data(), sizeof attribute);
  if (attribute.nla_len < kAttributeHeaderSize || attribute.nla_len > rest_.size()) {
    malformed_ = true;
    return std::nullopt;
  }
  const Bytes payload =
      rest_.subspan(kAttributeHeaderSize, attribute.nla_len - kAttributeHeaderSize);
  rest_ = rest_.subspan(std::min(aligned(attribute.nla_len), rest_.size()));
  return NetlinkAttribute{static_cast<std::uint16_t>(attribute.nla_type & NLA_TYPE_MASK), payload};
}

const nlmsghdr* MessageReader::next() {
  if (rest_.size() < sizeof(nlmsghdr)) return nullptr;
  const auto* message = reinterpret_cast<const nlmsghdr*>(rest_.data());
  if (message->nlmsg_len < sizeof(nlmsghdr) || message->nlmsg_len > rest_.size()) return nullptr;
  rest_ = rest_.subspan(std::min(aligned(message->nlmsg_len), rest_.size()));
  return message;
}

Bytes attributes_of(const nlmsghdr& message, std::size_t header_size) {
  const std::size_t start = kHeaderSize + aligned(header_size);
  if (message.nlmsg_len < start) return {};
  return {reinterpret_cast<const std::uint8_t*>(&message) + start, message.nlmsg_len - start};
}

}  // namespace mesh
