// The words of the contract for what becomes of a peer's packets, and why. Any thread (values).
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace mesh {

enum class Mode : std::uint8_t { kOff, kPrefer, kRequire };
enum class State : std::uint8_t { kEncrypted, kDegraded, kPending, kPlaintext, kBlocked };
inline constexpr int kStateCount = 5;
enum class Path : std::uint8_t { kWireguard, kPlaintext, kDrop };
enum class Reason : std::uint8_t {
  kNone,
  kNoPublicKey,
  kPeerUnsupported,
  kLocalUnsupported,
  kInvalidPublicKey,
  kDuplicatePublicKey,
  kNoEndpoint,
  kInvalidRecord,
  kNoRecord,
  kHandshaking,
  kNoHandshake,
  kFallback,
  kPolicy,
};

std::string_view to_string(Mode mode);      // "off", "prefer", "require"
std::string_view to_string(State state);    // "encrypted"…
std::string_view to_string(Path path);      // "wireguard", "plaintext", "drop"
std::string_view to_string(Reason reason);  // "no-public-key"…; "" for kNone
std::string_view explain(Reason reason);    // the same in words a person understands
std::optional<Mode> parse_mode(std::string_view text);
std::optional<State> parse_state(std::string_view text);
std::optional<Reason> parse_reason(std::string_view text);

}  // namespace mesh
