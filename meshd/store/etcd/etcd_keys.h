// EtcdKeys: where in etcd meshd keeps what. Pure; any thread.
//
//   <prefix>/nodes/<node>       the record, JSON as store/record_codec has it
//   <prefix>/live/<node>        there while the node's lease is: it is alive
//   <prefix>/silent/<node>      since when it is not, in seconds since 1970; made by whoever sees
//   it
//                               first, removed by the node itself when it lives
//   <prefix>/policies/<policy>  an encryption policy, JSON
#pragma once

#include <string>
#include <string_view>

namespace mesh {

class EtcdKeys {
 public:
  enum class Kind { kOther, kNode, kLive, kSilent, kPolicy };
  struct Parsed {
    Kind kind = Kind::kOther;
    std::string_view name;  // whatever stands after the kind; anybody may have written it
  };

  explicit EtcdKeys(std::string prefix);

  std::string node(std::string_view name) const { return prefix_ + "/nodes/" + std::string(name); }
  std::string live(std::string_view name) const { return prefix_ + "/live/" + std::string(name); }
  std::string silent(std::string_view name) const {
    return prefix_ + "/silent/" + std::string(name);
  }
  std::string policy(std::string_view name) const {
    return prefix_ + "/policies/" + std::string(name);
  }
  // Everything below the prefix: [begin, end).
  std::string begin() const { return prefix_ + "/"; }
  std::string end() const { return prefix_ + "0"; }  // '0' follows '/'
  const std::string& prefix() const { return prefix_; }

  Parsed parse(std::string_view key) const;  // `name` points into `key`

 private:
  std::string prefix_;  // without a slash at its end
};

}  // namespace mesh
