#include "mesh/public_key.h"

#include <sodium/utils.h>

#include <algorithm>

namespace mesh {
namespace {

// libsodium 1.0.18 decodes some bytes above 0x7f as if they were letters.
bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x80U; });
}

}  // namespace

Result<PublicKey> PublicKey::parse(std::string_view base64) {
  std::array<std::uint8_t, kSize> bytes{};
  std::size_t size = 0;
  const char* end = nullptr;
  const bool decoded =
      base64.size() == kBase64Size && is_ascii(base64) &&
      sodium_base642bin(bytes.data(), bytes.size(), base64.data(), base64.size(), nullptr, &size,
                        &end, sodium_base64_VARIANT_ORIGINAL) == 0 &&
      size == kSize && end == base64.data() + base64.size();
  if (!decoded)
    return make_error(
        ErrorCode::kInvalid,
        "'{}' is not a WireGuard public key (44 characters of base64, as `wg pubkey` prints)",
        base64.substr(0, 64));
  PublicKey key(bytes);
  if (key.is_zero())
    return make_error(ErrorCode::kInvalid,
                      "the all-zero public key, which no private key belongs to");
  return key;
}

bool PublicKey::is_zero() const {
  return std::all_of(bytes_.begin(), bytes_.end(), [](std::uint8_t byte) { return byte == 0; });
}

std::string PublicKey::to_base64() const {
  std::array<char, kBase64Size + 1> text{};
  sodium_bin2base64(text.data(), text.size(), bytes_.data(), bytes_.size(),
                    sodium_base64_VARIANT_ORIGINAL);
  return text.data();
}

}  // namespace mesh
