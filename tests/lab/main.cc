#include <gtest/gtest.h>
#include <unistd.h>

#include "lab/registry.h"

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (testing::GTEST_FLAG(list_tests)) return RUN_ALL_TESTS();
  const mesh::lab::SignalGuard guard;
  return RUN_ALL_TESTS();
}
