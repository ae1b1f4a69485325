// Dataplane: the port to the kernel (and to wireguard-go). The one place where errno becomes an
// Error.
//
// Called from the thread that owns the state only. Calls block for as long as the kernel takes,
// which is micro- to milliseconds; batches are sent in as few system calls as buffer space allows.
// It never decides, never retries a decision and never touches an object that is not named in the
// operation it was given.
#pragma once

#include <set>
#include <span>
#include <string>
#include <vector>

#include "mesh/kernel.h"
#include "mesh/plan.h"
#include "mesh/private_key.h"
#include "mesh/wireguard.h"

namespace mesh {

enum class BackendPreference { kAuto, kKernel, kUserspace, kNone };

struct DeviceSpec {
  std::string name;  // at most 15 bytes, no '/' and no white space: checked by the configuration
  BackendPreference preference = BackendPreference::kAuto;
  std::string userspace_command;
};

struct BackendChoice {
  Backend backend = Backend::kNone;
  std::string reason;    // why not the better ones; "" for the kernel
  bool created = false;  // false: the device was there and is adopted
};

class Dataplane {
 public:
  virtual ~Dataplane() = default;

  // Finds the mesh device and adopts it, or makes it with the best backend the preference allows.
  // With preference kNone, or when nothing works, the choice is kNone with the reason and the
  // remedy; that is not an error. A link of that name which is neither WireGuard nor our
  // wireguard-go's TUN is never touched: kNone with the reason. Errors: kPermission when
  // CAP_NET_ADMIN is missing.
  virtual Result<BackendChoice> ensure_device(const DeviceSpec& spec) = 0;
  // Takes the mesh device down for good, with all that is on it; wireguard-go ends. That it is not
  // there is success; a link that ensure_device would not adopt stays. Blocks for as long as the
  // kernel takes to free the peers, up to some milliseconds each.
  virtual Result<void> remove_device(const DeviceSpec& spec) = 0;
  // The key that WgDeviceChange::set_private_key writes. It must outlive the data plane or be
  // replaced by another call.
  virtual void set_identity(const PrivateKey* key) = 0;

  // Facts. Each reads the kernel now; a dump that changed under us is read again (bounded), else
  // kInterrupted.
  virtual Result<WgDevice> read_device() = 0;  // kNotFound when it is gone
  virtual Result<std::vector<Link>> read_links() = 0;
  virtual Result<std::vector<LocalAddress>> read_addresses() = 0;
  virtual Result<std::vector<Route>> read_routes(
      std::uint32_t table) = 0;  // both families, every protocol number
  virtual Result<std::vector<Rule>> read_rules() = 0;
  // Compared with what is wanted of it. kNotFound when table "inet meshd" is not there or not ours.
  virtual Result<NftContents> read_nftables(const NftSpec& wanted) = 0;
  // Of those of `sets` that count.
  virtual Result<std::vector<NftCounter>> read_counters(const NftSets& sets) = 0;
  // The link's own value, or that of "all".
  virtual Result<int> read_link_sysctl(const std::string& link, LinkSysctl sysctl) = 0;
  // What of these the kernel has; of what is not among them, that it has it. It is asked for each
  // once, and only then: asking makes it load what it can, connection tracking too.
  virtual NftExpressions nft_expressions(const NftExpressions& wanted) = 0;
  // `mark` as the socket would have it: with M the lookup passes by the mesh.
  virtual Result<RouteLookup> lookup(const IpAddress& destination, std::uint32_t mark) = 0;

  // Executes in order, neighbours of one kind in batches, and returns one result for each
  // operation. After a failed one the same node's later ones are not tried and carry kUnavailable;
  // those of other nodes are, and those of no node (the device's, nftables') always are: they do
  // not depend on each other. What is already so (EEXIST of an equal object, ESRCH of a removal) is
  // success.
  virtual std::vector<Result<void>> apply(std::span<const Operation> operations) = 0;

  // Readable when events wait. drain_events never blocks and returns all that wait, in order; those
  // of meshd's tables, of rules, links and addresses, and of nftables. Our own acts come back as
  // events too.
  virtual int event_fd() const = 0;
  virtual std::vector<KernelEvent> drain_events() = 0;
  // The tables whose route events drain_events reports.
  virtual void watch_tables(std::set<std::uint32_t> tables) = 0;
};

}  // namespace mesh
