// wireguard-go itself, started and configured as the daemon does it.
#include "meshd/dataplane/wireguard_userspace.h"

#include <gmock/gmock.h>

#include <csignal>

#include "meshd/dataplane/spawn.h"
#include "meshd/dataplane/userspace_process.h"
#include "tests/dataplane/wireguard_contract.h"

namespace mesh {
namespace {

class UserspaceTestDevice final : public TestDevice {
 public:
  explicit UserspaceTestDevice(const std::string& name) {
    auto started = UserspaceProcess::start("wireguard-go", name);
    if (!started) throw std::runtime_error(started.error().message);
    process_.emplace(std::move(*started));
    device_.emplace(name, process_->socket_path());
  }
  UserspaceTestDevice(const UserspaceTestDevice&) = delete;
  UserspaceTestDevice& operator=(const UserspaceTestDevice&) = delete;
  ~UserspaceTestDevice() override { (void)process_->stop(); }
  WireguardDevice& device() override { return *device_; }
  void destroy() override { (void)process_->stop(); }

 private:
  std::optional<UserspaceProcess> process_;
  std::optional<WireguardUserspace> device_;
};

// Absence is a failure, not a skip, where the build's own packages bring it.
std::string why_no_userspace() { return ""; }

const TestBackend kUserspace{"userspace", why_no_userspace,
                             [](const std::string& name) -> std::unique_ptr<TestDevice> {
                               return std::make_unique<UserspaceTestDevice>(name);
                             }};

INSTANTIATE_TEST_SUITE_P(Userspace, WireguardDeviceContract, testing::Values(kUserspace),
                         [](const auto& param) { return param.param.name; });

}  // namespace
}  // namespace mesh
