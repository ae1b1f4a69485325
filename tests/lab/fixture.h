// What the scenarios share: a lab per test, over families and backends, that explains a failure.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "lab/capture.h"
#include "lab/error.h"
#include "lab/lab.h"
#include "lab/pinger.h"

namespace mesh::lab {

// A lab per test. On failure its nodes, store and logs are printed before it is torn down.
class LabTest : public testing::Test {
 protected:
  Lab& make(LabSpec spec) {
    lab_ = std::make_unique<Lab>(std::move(spec));
    return *lab_;
  }
  Lab& lab() { return *lab_; }

  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "SKIPPED: a lab needs root for its network namespaces";
  }
  void TearDown() override {
    if (HasFailure() && lab_) GTEST_LOG_(INFO) << lab_->diagnosis();
    lab_.reset();
  }

 private:
  std::unique_ptr<Lab> lab_;
};

}  // namespace mesh::lab
