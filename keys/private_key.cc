#include "mesh/private_key.h"

#include <sodium.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

namespace mesh {
namespace {

// Without randomness there is no key that could be trusted, so there is nothing to return.
void ensure_sodium() {
  static const bool ready = sodium_init() >= 0;  // thread-safe, once
  if (!ready) std::abort();
}

// RFC 7748 section 5, decodeScalar25519.
void clamp(std::span<std::uint8_t, PrivateKey::kSize> bytes) {
  bytes[0] = static_cast<std::uint8_t>(bytes[0] & 0xf8U);
  bytes[31] = static_cast<std::uint8_t>((bytes[31] & 0x7fU) | 0x40U);
}

// libsodium 1.0.18 decodes some bytes above 0x7f as if they were letters. Looks at every character,
// whatever they are.
bool is_ascii(std::string_view text) {
  unsigned all = 0;
  for (const char c : text) all |= static_cast<unsigned char>(c);
  return all < 0x80U;
}

}  // namespace

PrivateKey PrivateKey::generate() {
  ensure_sodium();
  PrivateKey key;
  randombytes_buf(key.bytes_.data(), key.bytes_.size());
  clamp(key.bytes_);
  return key;
}

Result<PrivateKey> PrivateKey::from_bytes(std::span<const std::uint8_t> bytes) {
  if (bytes.size() != kSize)
    return make_error(ErrorCode::kInvalid, "a WireGuard private key has {} bytes, not {}", kSize,
                      bytes.size());
  if (sodium_is_zero(bytes.data(), bytes.size()) == 1)
    return make_error(ErrorCode::kInvalid,
                      "the all-zero private key, which WireGuard takes for \"no key\"");
  PrivateKey key;
  std::copy(bytes.begin(), bytes.end(), key.bytes_.begin());
  clamp(key.bytes_);
  return key;
}

Result<PrivateKey> PrivateKey::parse(std::string_view base64) {
  // Decoded where it stays, so that there is no second copy to wipe. libsodium's decoder branches
  // on no secret character.
  PrivateKey key;
  std::size_t size = 0;
  const char* end = nullptr;
  const bool decoded =
      base64.size() == PublicKey::kBase64Size && is_ascii(base64) &&
      sodium_base642bin(key.bytes_.data(), key.bytes_.size(), base64.data(), base64.size(), nullptr,
                        &size, &end, sodium_base64_VARIANT_ORIGINAL) == 0 &&
      size == kSize && end == base64.data() + base64.size();
  if (!decoded)
    return make_error(
        ErrorCode::kInvalid,
        "not a WireGuard private key ({} characters of base64, as `wg genkey` prints)",
        PublicKey::kBase64Size);
  return from_bytes(key.bytes_);
}

PrivateKey::PrivateKey(PrivateKey&& other) noexcept : bytes_(other.bytes_) {
  sodium_memzero(other.bytes_.data(), other.bytes_.size());
}

PrivateKey& PrivateKey::operator=(PrivateKey&& other) noexcept {
  if (this == &other) return *this;
  bytes_ = other.bytes_;
  sodium_memzero(other.bytes_.data(), other.bytes_.size());
  return *this;
}

PrivateKey::~PrivateKey() { sodium_memzero(bytes_.data(), bytes_.size()); }

PublicKey PrivateKey::public_key() const {
  std::array<std::uint8_t, PublicKey::kSize> point{};
  // Fails for no scalar that is clamped.
  (void)crypto_scalarmult_curve25519_base(point.data(), bytes_.data());
  return PublicKey(point);
}

}  // namespace mesh
