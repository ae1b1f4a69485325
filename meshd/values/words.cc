// The contract's words for enumerations, and names of nodes.
#include <array>
#include <utility>

#include "mesh/kernel.h"
#include "mesh/node_record.h"
#include "mesh/peer_state.h"
#include "mesh/policy.h"
#include "mesh/wireguard.h"

namespace mesh {
namespace {

template <class E, std::size_t N>
using Words = std::array<std::pair<E, std::string_view>, N>;

template <class E, std::size_t N>
std::string_view word(const Words<E, N>& words, E value) {
  for (const auto& [candidate, text] : words)
    if (candidate == value) return text;
  return "";
}

template <class E, std::size_t N>
std::optional<E> value_of(const Words<E, N>& words, std::string_view text) {
  for (const auto& [candidate, candidate_text] : words)
    if (candidate_text == text) return candidate;
  return std::nullopt;
}

constexpr Words<Mode, 3> kModes{
    {{Mode::kOff, "off"}, {Mode::kPrefer, "prefer"}, {Mode::kRequire, "require"}}};
constexpr Words<State, kStateCount> kStates{{{State::kEncrypted, "encrypted"},
                                             {State::kDegraded, "degraded"},
                                             {State::kPending, "pending"},
                                             {State::kPlaintext, "plaintext"},
                                             {State::kBlocked, "blocked"}}};
constexpr Words<Path, 3> kPaths{
    {{Path::kWireguard, "wireguard"}, {Path::kPlaintext, "plaintext"}, {Path::kDrop, "drop"}}};
constexpr Words<Reason, 13> kReasons{{{Reason::kNone, ""},
                                      {Reason::kNoPublicKey, "no-public-key"},
                                      {Reason::kPeerUnsupported, "peer-unsupported"},
                                      {Reason::kLocalUnsupported, "local-unsupported"},
                                      {Reason::kInvalidPublicKey, "invalid-public-key"},
                                      {Reason::kDuplicatePublicKey, "duplicate-public-key"},
                                      {Reason::kNoEndpoint, "no-endpoint"},
                                      {Reason::kInvalidRecord, "invalid-record"},
                                      {Reason::kNoRecord, "no-record"},
                                      {Reason::kHandshaking, "handshaking"},
                                      {Reason::kNoHandshake, "no-handshake"},
                                      {Reason::kFallback, "fallback"},
                                      {Reason::kPolicy, "policy"}}};
constexpr Words<Reason, 13> kExplanations{
    {{Reason::kNone, ""},
     {Reason::kNoPublicKey, "it publishes no key"},
     {Reason::kPeerUnsupported, "it has no WireGuard"},
     {Reason::kLocalUnsupported, "this node has no WireGuard"},
     {Reason::kInvalidPublicKey, "its key is invalid"},
     {Reason::kDuplicatePublicKey, "another node has the same key"},
     {Reason::kNoEndpoint, "no endpoint this node can reach"},
     {Reason::kInvalidRecord, "its record cannot be read"},
     {Reason::kNoRecord, "its record is gone"},
     {Reason::kHandshaking, "waiting for a handshake"},
     {Reason::kNoHandshake, "it does not answer"},
     {Reason::kFallback, "fell back, no answer"},
     {Reason::kPolicy, "encryption is off"}}};
constexpr Words<Backend, 3> kBackends{
    {{Backend::kNone, "none"}, {Backend::kKernel, "kernel"}, {Backend::kUserspace, "userspace"}}};
constexpr Words<NftSet, kNftSetCount> kNftSets{{{NftSet::kOwn, "own"},
                                                {NftSet::kOwnAddress, "own_address"},
                                                {NftSet::kPeerAddress, "peer_address"},
                                                {NftSet::kPeer, "peer"},
                                                {NftSet::kForeign, "foreign"},
                                                {NftSet::kTxWireguard, "tx_wireguard"},
                                                {NftSet::kRxWireguard, "rx_wireguard"},
                                                {NftSet::kTxPlaintext, "tx_plaintext"},
                                                {NftSet::kRxPlaintext, "rx_plaintext"},
                                                {NftSet::kTxRequired, "tx_required"},
                                                {NftSet::kRxRequired, "rx_required"},
                                                {NftSet::kTxBlocked, "tx_blocked"},
                                                {NftSet::kPinned, "pinned"},
                                                {NftSet::kEncryptedHosts, "encrypted_hosts"},
                                                {NftSet::kRequiredHosts, "required_hosts"},
                                                {NftSet::kRxRequiredHosts, "rx_required_hosts"},
                                                {NftSet::kClosedHop, "closed_hop"}}};

constexpr Words<LinkSysctl, kLinkSysctlCount> kLinkSysctls{
    {{LinkSysctl::kRpFilter, "rp_filter"}, {LinkSysctl::kSrcValidMark, "src_valid_mark"}}};

bool is_alphanumeric(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

constexpr Words<PolicyAction, 3> kPolicyActions{{{PolicyAction::kRequire, "Require"},
                                                 {PolicyAction::kPrefer, "Prefer"},
                                                 {PolicyAction::kPlaintext, "Plaintext"}}};

// RFC 1123 subdomains.
Result<void> check_name(std::string_view name, std::string_view what) {
  const auto refuse = [&](std::string_view why) {
    return make_error(ErrorCode::kInvalid,
                      "'{}' is not {}: {} (use lower-case letters, digits, '-' and '.', "
                      "at most {} bytes)",
                      name.substr(0, 64), what, why, kMaxNameBytes);
  };
  if (name.empty()) return refuse("it is empty");
  if (name.size() > kMaxNameBytes) return refuse("it is too long");
  for (std::size_t i = 0; i < name.size(); ++i) {
    const char c = name[i];
    if (is_alphanumeric(c)) continue;
    if (c != '-' && c != '.') return refuse("it has another character");
    const bool at_edge = i == 0 || i + 1 == name.size();
    if (at_edge || (c == '.' && (!is_alphanumeric(name[i - 1]) || !is_alphanumeric(name[i + 1]))))
      return refuse("each part must start and end with a letter or a digit");
  }
  return {};
}

}  // namespace

std::string_view to_string(PolicyAction action) { return word(kPolicyActions, action); }
std::string_view to_string(Mode mode) { return word(kModes, mode); }
std::string_view to_string(State state) { return word(kStates, state); }
std::string_view to_string(Path path) { return word(kPaths, path); }
std::string_view to_string(Reason reason) { return word(kReasons, reason); }
std::string_view explain(Reason reason) { return word(kExplanations, reason); }
std::string_view to_string(Backend backend) { return word(kBackends, backend); }
std::string_view to_string(NftSet set) { return word(kNftSets, set); }
std::string_view to_string(LinkSysctl sysctl) { return word(kLinkSysctls, sysctl); }
std::optional<Mode> parse_mode(std::string_view text) { return value_of(kModes, text); }
std::optional<State> parse_state(std::string_view text) { return value_of(kStates, text); }
std::optional<Reason> parse_reason(std::string_view text) { return value_of(kReasons, text); }

std::optional<Cidr> IpRange::prefix() const {
  const int bits = address_bits(first.family());
  for (int length = 0; length <= bits; ++length)
    if (first.masked(length) == first && first.last_in(length) == last) return Cidr(first, length);
  return std::nullopt;
}

std::string IpRange::to_string() const {
  if (const auto cidr = prefix()) return cidr->to_string();
  return fmt::format("{}-{}", first.to_string(), last.to_string());
}

Result<void> check_node_name(std::string_view name) { return check_name(name, "a node name"); }
Result<void> check_policy_name(std::string_view name) { return check_name(name, "a policy name"); }

}  // namespace mesh
