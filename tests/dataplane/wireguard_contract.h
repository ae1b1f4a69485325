// The contract of WireguardDevice as a parameterised suite: each backend's test file instantiates
// it with a way to make devices. See wireguard_contract.cc for the sentences.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>

#include "meshd/dataplane/wireguard_device.h"
#include "tests/dataplane/sandbox.h"

namespace mesh {

// A device in the network namespace that was current when it was made, gone when this dies.
class TestDevice {
 public:
  virtual ~TestDevice() = default;
  virtual WireguardDevice& device() = 0;
  virtual void destroy() = 0;  // the device vanishes, as by another's hand
};

struct TestBackend {
  std::string name;
  std::function<std::string()> why_not;  // "" when the backend works here
  std::function<std::unique_ptr<TestDevice>(const std::string& name)> make;
};

void PrintTo(const TestBackend& backend, std::ostream* out);

// SetUp enters a new network namespace, or skips loudly.
class WireguardDeviceContract : public testing::TestWithParam<TestBackend> {
 protected:
  void SetUp() override;
  std::unique_ptr<TestDevice> make(const std::string& name) { return GetParam().make(name); }
};

}  // namespace mesh
