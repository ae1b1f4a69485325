// Parts of an etcd transaction, so that what is compared and what is done reads as a sentence.
// Pure; any thread.
#pragma once

#include <cstdint>
#include <string>

#include "etcd.pb.h"

namespace mesh {

class EtcdTxn {
 public:
  // Compare: the key was last written at this revision; 0: it is not there.
  EtcdTxn& if_revision(const std::string& key, std::int64_t revision) {
    etcdserverpb::Compare& compare = *request_.add_compare();
    compare.set_target(etcdserverpb::Compare::MOD);
    compare.set_key(key);
    compare.set_mod_revision(revision);
    return *this;
  }
  EtcdTxn& if_absent(const std::string& key) { return if_revision(key, 0); }

  EtcdTxn& put(const std::string& key, const std::string& value, std::int64_t lease = 0) {
    etcdserverpb::PutRequest& put = *request_.add_success()->mutable_request_put();
    put.set_key(key);
    put.set_value(value);
    put.set_lease(lease);
    return *this;
  }
  EtcdTxn& remove(const std::string& key) {
    request_.add_success()->mutable_request_delete_range()->set_key(key);
    return *this;
  }
  // If the comparison fails: what is there instead.
  EtcdTxn& else_read(const std::string& key) {
    request_.add_failure()->mutable_request_range()->set_key(key);
    return *this;
  }

  const etcdserverpb::TxnRequest& request() const { return request_; }

 private:
  etcdserverpb::TxnRequest request_;
};

}  // namespace mesh
