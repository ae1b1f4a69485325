// PublicKey: a Curve25519 public key as WireGuard uses it. Not a secret. Any thread.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <string_view>

#include "mesh/result.h"

namespace mesh {

class PublicKey {
 public:
  static constexpr std::size_t kSize = 32;
  static constexpr std::size_t kBase64Size = 44;

  PublicKey() = default;  // the all-zero key, which is never valid
  explicit PublicKey(const std::array<std::uint8_t, kSize>& bytes) : bytes_(bytes) {}
  // 44 characters of canonical base64, as `wg pubkey` prints. Refuses the all-zero key, which the
  // kernel takes silently and no peer can own.
  static Result<PublicKey> parse(std::string_view base64);

  const std::array<std::uint8_t, kSize>& bytes() const { return bytes_; }
  bool is_zero() const;
  std::string to_base64() const;
  // The first characters, for logs and narrow tables.
  std::string abbreviated() const { return to_base64().substr(0, 8) + "\u2026"; }

  friend auto operator<=>(const PublicKey&, const PublicKey&) = default;

 private:
  std::array<std::uint8_t, kSize> bytes_{};
};

}  // namespace mesh

template <>
struct std::hash<mesh::PublicKey> {
  std::size_t operator()(const mesh::PublicKey& key) const noexcept {
    std::size_t value = 0;  // the key is uniform already
    std::memcpy(&value, key.bytes().data(), sizeof value);
    return value;
  }
};
