// EtcdStoreTest: a real etcd of each test's own, and what the tests of the etcd store do with it.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>

#include "eventually.h"
#include "meshd/store/etcd/etcd_keys.h"
#include "meshd/store/etcd/etcd_store.h"
#include "meshd/store/record_codec.h"
#include "store/etcd_server.h"
#include "store/observer.h"

namespace mesh::testing {

using Steady = std::chrono::steady_clock;

class EtcdStoreTest : public ::testing::Test {
 protected:
  static std::unique_ptr<NodeStore> store(EtcdOptions options) {
    return std::make_unique<EtcdStore>(std::move(options));
  }
  static bool wait_back(ObservedStore& client, const std::string& why) {
    return client.seen().wait("went back: " + why, [&](const Observed& seen) {
      return seen.went_back.find(why) != std::string::npos;
    });
  }
  void put(const NodeRecord& record) {
    server_.hands().put(keys_.node(record.name), format_record_json(record));
  }
  static bool wait_error(ObservedStore& client, const std::string& text) {
    return client.seen().wait("error with " + text, [&](const Observed& seen) {
      return seen.error.find(text) != std::string::npos;
    });
  }

  EtcdServer server_;
  EtcdKeys keys_{"/meshd"};
};

}  // namespace mesh::testing
