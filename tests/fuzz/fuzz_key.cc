// Keys as text. Keys of a fuzzer are nobody's secret.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <string_view>

#include "mesh/private_key.h"
#include "mesh/public_key.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto open_key = mesh::PublicKey::parse(text);
  if (open_key && open_key->to_base64() != text) std::abort();  // one key has one text
  if (open_key && open_key->is_zero()) std::abort();

  const auto secret_key = mesh::PrivateKey::parse(text);
  if (secret_key.has_value() != open_key.has_value()) std::abort();  // the same 44 characters
  if (!secret_key) return 0;
  std::array<std::uint8_t, mesh::PrivateKey::kSize> expected = open_key->bytes();
  expected[0] = static_cast<std::uint8_t>(expected[0] & 0xf8U);
  expected[31] = static_cast<std::uint8_t>((expected[31] & 0x7fU) | 0x40U);
  const auto bytes = secret_key->reveal();
  if (!std::equal(bytes.begin(), bytes.end(), expected.begin())) std::abort();
  if (secret_key->public_key().is_zero()) std::abort();
  return 0;
}
