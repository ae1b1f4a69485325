// NftablesTable: table "inet meshd" as a whole. Installs it in one transaction, and tells whether
// what the kernel has is what we would install.
//
// One thread at a time; in the network namespace it was opened in. Installing costs some ten
// milliseconds (libnftables compiles the text), however many elements there are, and is rare;
// checking is two short dumps. Needs
// nothing but the kernel's nf_tables: without it, open() is kUnsupported.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "mesh/kernel.h"
#include "mesh/result.h"
#include "meshd/dataplane/netlink_socket.h"
#include "meshd/dataplane/nftables_ruleset.h"

namespace mesh {

class NftablesTable {
 public:
  static Result<NftablesTable> open();

  // The whole table: afterwards every set is empty. With `keep_sets` its rules alone, whatever is
  // in it and whoever put it there: sets, elements and counters stay, and no packet sees the one
  // without the other. kNotFound: it is not there, or of another version or device.
  Result<void> install(const NftSpec& spec, bool keep_sets = false);
  // Removes the table if meshd made it. Returns the device it was made for; empty: there was none
  // of meshd's. Another's table of that name stays: kExists.
  Result<std::string> remove();
  // Whether the rules are those of this spec: none missing, changed in its place, or added.
  // kNotFound when there is no such table, or when it is not meshd's, of another device or other
  // sets, or dormant.
  Result<bool> check(const NftSpec& expected);
  // Which of these this kernel takes; the others count as taken. Changes nothing: the kernel gets a
  // transaction that is never committed. Where it cannot be asked, as without the permission, all.
  NftExpressions probe(const NftExpressions& wanted);
  // Whether it takes these rules, a line each, in a chain of prerouting; as above.
  bool takes(std::string_view rules);

  // This process as nf_tables names it in its events (NFTA_GEN_PROC_PID), which is not getpid() in
  // a container. Valid for the thread that opened or installed last.
  std::uint32_t process_id() const { return process_id_; }

 private:
  explicit NftablesTable(NetlinkSocket socket) : socket_(std::move(socket)) {}
  Result<void> learn_process_id();
  Result<std::string> read_tag(bool* dormant = nullptr);
  Result<std::vector<std::string>> read_chains();
  Result<std::vector<NftRuleLabel>> read_rules();
  Result<void> run(const std::string& text, std::string_view act, bool dry = false);

  NetlinkSocket socket_;
  std::uint32_t process_id_ = 0;
};

}  // namespace mesh
