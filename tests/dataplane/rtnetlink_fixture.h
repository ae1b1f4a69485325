// A Rtnetlink in a namespace with a device "mesh0", and the words the tests speak.
#pragma once

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "dataplane/network_namespace.h"
#include "meshd/dataplane/rtnetlink.h"

namespace mesh::test {

inline constexpr std::uint32_t kTable = 5182;

inline Rule everything_but_m(Family family) {
  Rule rule;
  rule.family = family;
  rule.priority = 99;
  rule.invert = true;
  rule.fwmark = rule.fwmask = 0x2000;
  rule.table = kTable;
  return rule;
}

class RtnetlinkTest : public NamespaceTest {
 protected:
  void SetUp() override {
    NamespaceTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    run("ip tuntap add mesh0 mode tun && ip link set mesh0 up");
    auto opened = Rtnetlink::open();
    ASSERT_TRUE(opened) << opened.error().message;
    net_.emplace(std::move(*opened));
  }

  Rtnetlink& net() { return *net_; }

  static Route route(const char* destination, RouteType type, std::uint32_t metric = 1024) {
    Route made;
    made.key = {kTable, cidr(destination), metric};
    made.type = type;
    made.oif = type == RouteType::kUnicast ? index_of("mesh0") : 0;
    return made;
  }
  Result<void> put(const Route& wanted) { return net().put_routes({&wanted, 1}).front(); }
  Result<void> remove(const Route& wanted) { return net().remove_routes({&wanted, 1}).front(); }
  std::vector<Route> table(std::uint32_t number = kTable) {
    auto routes = net().read_routes(number);
    EXPECT_TRUE(routes) << routes.error().message;
    return routes ? *routes : std::vector<Route>();
  }
  static nlohmann::json shown(const char* family, std::uint32_t number = kTable) {
    return nlohmann::json::parse(
        run(fmt::format("ip -j {} route show table {} 2>/dev/null || echo '[]'", family, number)));
  }

 private:
  std::optional<Rtnetlink> net_;
};

MATCHER(Succeeds, "") {
  if (!arg) *result_listener << arg.error().message;
  return arg.has_value();
}
MATCHER_P(FailsWith, code, "") {
  if (arg) return false;
  *result_listener << arg.error().message;
  return arg.error().code == code;
}

}  // namespace mesh::test
