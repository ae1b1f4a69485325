// What the tests of the pass share: node a with two encrypted peers. One thread.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "rig.h"

namespace mesh::test {

inline constexpr char kNothing[] = "nothing to do: the kernel is as it should be\n";

// Of one of this node's rules.
inline Rule rule_of(const Rig& rig) { return *rig.kernel.rules().begin(); }

class ReconcilerTest : public ::testing::Test {
 protected:
  // Node a with the encrypted peers b and c.
  void make_encrypted(Rig& rig) {
    rig.add_peer("b", 2);
    rig.add_peer("c", 3);
    rig.start();
    ASSERT_TRUE(rig.run_until([&] { return rig.encrypted("b") && rig.encrypted("c"); }));
    rig.run(std::chrono::seconds(2));
    ASSERT_EQ(rig.left_to_do(), kNothing);
    ASSERT_EQ(rig.status->repairs, 0U);
    rig.kernel.forget();
    rig.dataplane.operations_tried = 0;
  }
};

}  // namespace mesh::test
