#include "meshd/store/etcd/etcd_admin.h"

#include <fmt/format.h>

#include <utility>

#include "meshd/store/etcd/etcd_client.h"
#include "meshd/store/etcd/etcd_own.h"
#include "meshd/store/etcd/etcd_reader.h"
#include "meshd/store/etcd/etcd_txn.h"
#include "meshd/store/etcd/etcd_view.h"
#include "meshd/store/policy_codec.h"
#include "meshd/store/record_codec.h"

namespace mesh {

EtcdAdmin::EtcdAdmin(EtcdOptions options) : options_(std::move(options)), keys_(options_.prefix) {}

Result<void> EtcdAdmin::at_one(const std::function<Result<void>(EtcdClient&)>& act) const {
  std::string problems;
  for (const std::string& endpoint : options_.endpoints) {
    EtcdCalls calls;
    auto client = EtcdClient::open(options_, endpoint, calls);
    if (!client) return client.error();
    auto done = act(**client);
    if (done || !is_connection_error(done.error())) return done;
    problems += (problems.empty() ? "" : "; ") + done.error().message;
  }
  return make_error(ErrorCode::kUnavailable, "{}", problems);
}

Result<StoreAdmin::Contents> EtcdAdmin::read() {
  EtcdView view(keys_);
  auto done = at_one([&](EtcdClient& client) -> Result<void> {
    return read_everything(client, keys_, options_.page, options_.read_total, view);
  });
  if (!done) return done.error();
  StoreUpdate everything = view.take(/*complete=*/true);
  return Contents{std::move(everything.changes), std::move(everything.policies)};
}

// Creates or replaces; what is there already is not written again.
Result<void> EtcdAdmin::put(const std::string& key, const std::string& text) const {
  return at_one([&](EtcdClient& client) -> Result<void> {
    etcdserverpb::RangeRequest request;
    request.set_key(key);
    const auto found = client.range(request);
    if (!found) return found.error();
    if (found->kvs_size() != 0 && found->kvs(0).value() == text) return {};
    const auto written = client.txn(EtcdTxn().put(key, text).request());
    if (!written) return written.error();
    return {};
  });
}

Result<void> EtcdAdmin::remove(const std::string& key, const std::string& and_key,
                               const std::string& what) const {
  return at_one([&](EtcdClient& client) -> Result<void> {
    const auto removed = client.txn(EtcdTxn().remove(key).remove(and_key).request());
    if (!removed) return removed.error();
    if (removed->responses_size() == 0 ||
        removed->responses(0).response_delete_range().deleted() == 0)
      return make_error(ErrorCode::kNotFound, "there is no {} in etcd ({})", what, key);
    return {};
  });
}

Result<void> EtcdAdmin::put_node(const NodeRecord& record) {
  if (auto checked = check_node_name(record.name); !checked) return checked;
  const std::string key = keys_.node(record.name);
  const std::string text = format_record_json(record);
  // What nobody could read must not be written.
  if (auto readable = parse_record_json(text, "etcd " + key, record.name); !readable)
    return readable.error();
  return put(key, text);
}

Result<void> EtcdAdmin::delete_node(const std::string& name) {
  if (auto checked = check_node_name(name); !checked) return checked;
  return remove(keys_.node(name), keys_.silent(name), "record of node " + name);
}

Result<void> EtcdAdmin::put_policy(const EncryptionPolicy& policy) {
  if (auto checked = check_policy_name(policy.name); !checked) return checked;
  const std::string key = keys_.policy(policy.name);
  const std::string text = format_policy_json(policy);
  if (auto readable = parse_policy_json(text, "etcd " + key, policy.name); !readable)
    return readable.error();
  return put(key, text);
}

Result<void> EtcdAdmin::delete_policy(const std::string& name) {
  if (auto checked = check_policy_name(name); !checked) return checked;
  const std::string key = keys_.policy(name);
  return remove(key, key, "policy " + name);
}

}  // namespace mesh
