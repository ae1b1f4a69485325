// Private keys: known answers, and what the type must refuse to do.
#include "mesh/private_key.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>
#include <ostream>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace mesh {
namespace {

template <class T>
concept Comparable = requires(const T& a, const T& b) {
  a == b;
};
template <class T>
concept Streamable = requires(std::ostream& out, const T& value) {
  out << value;
};
template <class T>
concept Ordered = requires(const T& a, const T& b) {
  a < b;
};
template <class T>
concept Iterable = requires(const T& value) {
  value.begin();
};
template <class T>
concept HasText = requires(const T& value) {
  value.to_string();
}
|| requires(const T& value) { value.to_base64(); };

static_assert(Comparable<PublicKey> && Ordered<PublicKey> && HasText<PublicKey>,
              "the checks below can tell the difference");
static_assert(!std::is_copy_constructible_v<PrivateKey>);
static_assert(!std::is_copy_assignable_v<PrivateKey>);
static_assert(!std::is_default_constructible_v<PrivateKey>);
static_assert(std::is_nothrow_move_constructible_v<PrivateKey>);
static_assert(std::is_nothrow_move_assignable_v<PrivateKey>);
static_assert(!Comparable<PrivateKey> && !Ordered<PrivateKey>);
static_assert(!Streamable<PrivateKey> && !Iterable<PrivateKey> && !HasText<PrivateKey>);
static_assert(!fmt::is_formattable<PrivateKey>::value);
static_assert(!std::is_convertible_v<PrivateKey, std::string>);
static_assert(!std::is_convertible_v<PrivateKey, std::string_view>);
static_assert(!std::is_convertible_v<PrivateKey, PublicKey>);
static_assert(!std::is_convertible_v<PrivateKey, std::span<const std::uint8_t>>);

std::vector<std::uint8_t> from_hex(std::string_view hex) {
  std::vector<std::uint8_t> bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes.push_back(
        static_cast<std::uint8_t>(std::stoul(std::string(hex.substr(i, 2)), nullptr, 16)));
  return bytes;
}

std::string to_hex(std::span<const std::uint8_t> bytes) {
  std::string text;
  for (const std::uint8_t byte : bytes) text += fmt::format("{:02x}", byte);
  return text;
}

std::string base64_of(const PrivateKey& key) {
  // A test may look at a key of its own; PublicKey's encoder serves.
  std::array<std::uint8_t, PrivateKey::kSize> bytes{};
  std::copy(key.reveal().begin(), key.reveal().end(), bytes.begin());
  return PublicKey(bytes).to_base64();
}

PrivateKey key_of(std::string_view hex) {
  auto key = PrivateKey::from_bytes(from_hex(hex));
  EXPECT_TRUE(key.has_value());
  return std::move(key).value();
}

bool is_clamped(const PrivateKey& key) {
  const auto bytes = key.reveal();
  return (bytes[0] & 0x07U) == 0 && (bytes[31] & 0xc0U) == 0x40U;
}

bool all_zero(std::span<const std::uint8_t> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::uint8_t byte) { return byte == 0; });
}

TEST(PrivateKey, DerivesThePublicKeysOfRfc7748Section61) {
  const auto alice = key_of("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
  EXPECT_EQ(to_hex(alice.public_key().bytes()),
            "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
  const auto bob = key_of("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
  EXPECT_EQ(to_hex(bob.public_key().bytes()),
            "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
}

TEST(PrivateKey, IsClampedAsRfc7748Section5Says) {
  const auto alice = key_of("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
  EXPECT_EQ(to_hex(alice.reveal()),
            "70076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c6a");
  EXPECT_TRUE(is_clamped(key_of(std::string(64, 'f'))));
  for (int i = 0; i < 64; ++i) EXPECT_TRUE(is_clamped(PrivateKey::generate()));
}

TEST(PrivateKey, GeneratesAnotherKeyEachTime) {
  EXPECT_NE(PrivateKey::generate().public_key(), PrivateKey::generate().public_key());
}

TEST(PrivateKey, ReadsTheTextThatWgGenkeyPrints) {
  const auto key = PrivateKey::generate();
  const auto read = PrivateKey::parse(base64_of(key));
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->public_key(), key.public_key());
}

TEST(PrivateKey, RefusesTheAllZeroKey) {
  EXPECT_FALSE(PrivateKey::from_bytes(std::array<std::uint8_t, 32>{}).has_value());
  const auto parsed = PrivateKey::parse(std::string(43, 'A') + "=");
  ASSERT_FALSE(parsed.has_value());
  EXPECT_EQ(parsed.error().code, ErrorCode::kInvalid);
}

TEST(PrivateKey, RefusesAWrongNumberOfBytes) {
  for (const std::size_t size : {0U, 1U, 31U, 33U, 64U}) {
    const auto key = PrivateKey::from_bytes(std::vector<std::uint8_t>(size, 7));
    EXPECT_FALSE(key.has_value()) << size;
  }
}

TEST(PrivateKey, RefusesTextThatIsNotCanonicalBase64AndNeverQuotesIt) {
  const std::string good = base64_of(PrivateKey::generate());
  std::vector<std::string> bad = {
      "", "=", good.substr(0, 43), good + "=", good + "\n", " " + good, good + good,
      // 44 characters, of which the last but one holds bits that no byte owns.
      good.substr(0, 42) + "B=", good.substr(0, 42) + "==", good.substr(0, 43) + "A"};
  for (std::size_t i = 0; i < good.size(); ++i)
    for (const char c : {'-', '_', ' ', '\n', '\0', '\x80', '*'}) {
      bad.push_back(good);
      bad.back()[i] = c;
    }
  for (const std::string& text : bad) {
    const auto key = PrivateKey::parse(text);
    ASSERT_FALSE(key.has_value()) << text;
    if (text.size() > 2) {
      EXPECT_THAT(key.error().message, ::testing::Not(::testing::HasSubstr(text)));
    }
    EXPECT_THAT(key.error().message, ::testing::Not(::testing::HasSubstr(good.substr(4, 8))));
  }
}

TEST(PrivateKey, IsWipedWhenItIsMovedFrom) {
  auto first = PrivateKey::generate();
  const auto expected = first.public_key();
  auto second = std::move(first);
  EXPECT_TRUE(all_zero(first.reveal()));  // NOLINT(bugprone-use-after-move): the point
  EXPECT_EQ(second.public_key(), expected);

  auto third = PrivateKey::generate();
  third = std::move(second);
  EXPECT_TRUE(all_zero(second.reveal()));  // NOLINT(bugprone-use-after-move): the point
  EXPECT_EQ(third.public_key(), expected);

  PrivateKey& alias = third;
  third = std::move(alias);
  EXPECT_EQ(third.public_key(), expected) << "a move to itself keeps the key";
}

TEST(PrivateKey, IsWipedWhenItDies) {
  alignas(PrivateKey) std::array<std::uint8_t, sizeof(PrivateKey)> memory{};
  auto* key = new (memory.data()) PrivateKey(PrivateKey::generate());
  ASSERT_FALSE(all_zero(memory));
  std::destroy_at(key);
  EXPECT_TRUE(all_zero(memory));
}

// What `command` prints, its input being `input`.
std::string run(const std::string& command, const std::string& input) {
  // The key goes through a pipe and the shell's built-in, never into an argument of a process.
  FILE* pipe = ::popen(fmt::format("printf '%s\\n' '{}' | {}", input, command).c_str(), "re");
  if (pipe == nullptr) return {};
  std::array<char, 128> line{};
  std::string output;
  while (std::fgets(line.data(), static_cast<int>(line.size()), pipe) != nullptr)
    output += line.data();
  EXPECT_EQ(::pclose(pipe), 0) << command;
  if (output.ends_with('\n')) output.pop_back();
  return output;
}

class WgTool : public ::testing::Test {
 protected:
  void SetUp() override {
    if (std::system("command -v wg >/dev/null 2>&1") != 0)
      GTEST_SKIP() << "SKIPPED LOUDLY: there is no `wg` on this machine (package wireguard-tools), "
                      "so keys are not compared with those of the reference tool";
  }
};

TEST_F(WgTool, DerivesTheSamePublicKeyAsWe) {
  for (int i = 0; i < 16; ++i) {
    const auto key = PrivateKey::generate();
    EXPECT_EQ(run("wg pubkey", base64_of(key)), key.public_key().to_base64());
  }
}

TEST_F(WgTool, MakesKeysThatWeReadAsTheyAre) {
  for (int i = 0; i < 16; ++i) {
    const std::string text = run("wg genkey", "");
    const auto key = PrivateKey::parse(text);
    ASSERT_TRUE(key.has_value()) << key.error().message;
    EXPECT_EQ(base64_of(*key), text) << "a key of wg is clamped already";
    EXPECT_EQ(run("wg pubkey", text), key->public_key().to_base64());
  }
}

}  // namespace
}  // namespace mesh
