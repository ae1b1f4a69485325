// PrivateKey: a Curve25519 private key. Move-only, wiped when it dies or is moved from, and
// impossible to print, copy, compare or convert by accident. Implemented in keys/. Any thread, one
// at a time.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "mesh/public_key.h"
#include "mesh/result.h"

namespace mesh {

class PrivateKey {
 public:
  static constexpr std::size_t kSize = 32;

  static PrivateKey
  generate();  // from the operating system's randomness, clamped as RFC 7748 section 5 says
  // Clamps. Refuses (kInvalid) a wrong size and the all-zero key. Wiping `bytes` afterwards is the
  // caller's duty.
  static Result<PrivateKey> from_bytes(std::span<const std::uint8_t> bytes);
  // 44 characters of canonical base64, as `wg genkey` prints; decoded in constant time. The error
  // never quotes the text.
  static Result<PrivateKey> parse(std::string_view base64);

  PrivateKey(const PrivateKey&) = delete;
  PrivateKey& operator=(const PrivateKey&) = delete;
  PrivateKey(PrivateKey&& other) noexcept;
  PrivateKey& operator=(PrivateKey&& other) noexcept;
  ~PrivateKey();

  PublicKey public_key() const;
  // The secret itself, for the code that hands it to a device or writes the key file. The span dies
  // with the key.
  std::span<const std::uint8_t, kSize> reveal() const { return bytes_; }

 private:
  PrivateKey() = default;
  std::array<std::uint8_t, kSize> bytes_{};
};

}  // namespace mesh
