// NftablesTable: table "inet meshd" as a whole. Installs it in one transaction, and tells whether
// what the kernel has is what we would install.
//
// One thread at a time; in the network namespace it was opened in. Installing costs some ten
// milliseconds (libnftables compiles the text) and is rare; checking is two short dumps. Needs
// nothing but the kernel's nf_tables: without it, open() is kUnsupported.
#pragma once

#include <cstdint>
#include <optional>

#include "mesh/kernel.h"
#include "mesh/result.h"
#include "meshd/dataplane/netlink_socket.h"
#include "meshd/dataplane/nftables_ruleset.h"

namespace mesh {

class NftablesTable {
 public:
  static Result<NftablesTable> open();

  // Replaces the whole table, elements too: afterwards every set is empty.
  Result<void> install(const NftSpec& spec);
  // Removes the table if meshd made it. Returns the device it was made for; empty: there was none
  // of meshd's. Another's table of that name stays: kExists.
  Result<std::string> remove();
  // The spec the kernel's table was made for. kNotFound when there is no such table, when it is not
  // meshd's or of another version, or when a rule of it is missing, changed in its place, or added.
  Result<NftSpec> check();
  // Whether it is the table of this spec: kNotFound where it is not, as above.
  Result<void> check(const NftSpec& expected);

  // This process as nf_tables names it in its events (NFTA_GEN_PROC_PID), which is not getpid() in
  // a container. Valid for the thread that opened or installed last.
  std::uint32_t process_id() const { return process_id_; }

 private:
  explicit NftablesTable(NetlinkSocket socket) : socket_(std::move(socket)) {}
  Result<void> learn_process_id();
  Result<std::string> read_tag();
  Result<void> compare_rules(const NftRuleset& wanted);
  Result<void> run(const std::string& text, std::string_view act);

  NetlinkSocket socket_;
  std::uint32_t process_id_ = 0;
};

}  // namespace mesh
