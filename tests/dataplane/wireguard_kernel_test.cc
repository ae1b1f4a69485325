// The kernel's WireGuard. Where the kernel has none these tests skip; the same program runs in the
// VM, as root, with nothing else installed.
#include "meshd/dataplane/wireguard_kernel.h"

#include <gmock/gmock.h>
#include <net/if.h>

#include "tests/dataplane/wireguard_contract.h"

namespace mesh {
namespace {

using testing::HasSubstr;

class KernelTestDevice final : public TestDevice {
 public:
  explicit KernelTestDevice(const std::string& name) : name_(name) {
    sandbox::make_link(name, "wireguard");
    auto opened = WireguardKernel::open(name);
    if (!opened) throw std::runtime_error(opened.error().message);
    device_ = std::move(*opened);
  }
  WireguardDevice& device() override { return *device_; }
  void destroy() override { sandbox::delete_link(name_); }  // else it goes with its namespace

 private:
  std::string name_;
  std::unique_ptr<WireguardKernel> device_;
};

std::string why_no_kernel() {
  return sandbox::kernel_knows_link("wireguard") ? ""
                                                 : "this kernel has no WireGuard; runs in the VM";
}

const TestBackend kKernel{"kernel", why_no_kernel,
                          [](const std::string& name) -> std::unique_ptr<TestDevice> {
                            return std::make_unique<KernelTestDevice>(name);
                          }};

INSTANTIATE_TEST_SUITE_P(Kernel, WireguardDeviceContract, testing::Values(kKernel),
                         [](const auto& param) { return param.param.name; });

class WireguardKernelTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!sandbox::available()) GTEST_SKIP() << sandbox::why_not();
    sandbox::NetworkNamespace fresh;
  }
};

TEST_F(WireguardKernelTest, KernelWithoutWireguardIsOneClearError) {
  if (why_no_kernel().empty()) GTEST_SKIP() << "this kernel has WireGuard";
  const auto device = WireguardKernel::open("wga");
  ASSERT_FALSE(device);
  EXPECT_EQ(device.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(device.error().message, HasSubstr("modprobe wireguard"));
}

TEST_F(WireguardKernelTest, LinkOfAnotherKindIsNotADevice) {
  if (!why_no_kernel().empty()) GTEST_SKIP() << "NOT TESTED: " << why_no_kernel();
  auto device = WireguardKernel::open("lo");
  ASSERT_TRUE(device);
  const auto read = (*device)->read();
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(read.error().message, HasSubstr("is not WireGuard"));
}

}  // namespace
}  // namespace mesh
