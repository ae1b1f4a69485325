// LinuxDataplane: the Dataplane of a real node: WireGuard (kernel or wireguard-go), rtnetlink,
// nftables, sysctls and their events, composed.
//
// One thread, in the network namespace it was opened in. See Dataplane for the rules every data
// plane keeps; here:
// - Batches: neighbours of one kind for different nodes travel together. A second operation for the
//   same node starts another batch, so that it is not tried when the first one failed. Neighbouring
//   nftables elements, put and removed alike, are one transaction; when the kernel refuses it, each
//   is tried alone, those of the same node too.
// - A kernel without nf_tables works without counters and guards: operations on table "inet meshd"
//   and its readings are kUnsupported with the remedy.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "mesh/dataplane.h"
#include "meshd/dataplane/event_monitor.h"
#include "meshd/dataplane/mesh_device.h"
#include "meshd/dataplane/nftables_elements.h"
#include "meshd/dataplane/nftables_table.h"
#include "meshd/dataplane/rtnetlink.h"
#include "meshd/dataplane/sysctl_memory.h"

namespace mesh {

class LinuxDataplane final : public Dataplane {
 public:
  // Opens the sockets; changes nothing. Works without privileges, for reading.
  static Result<std::unique_ptr<LinuxDataplane>> open();
  // kPermission, with the remedy, when this process may not change networking. Changes nothing.
  Result<void> check_permission();

  // Where settings of links that this data plane changes are kept, to be given back with the
  // device. Until then none is.
  void remember_sysctls_in(std::string file) { sysctls_ = SysctlMemory(std::move(file)); }

  // What meshd ever made in this network namespace: rules and routes by their protocol number, the
  // nftables table, the device, and the settings of links; in the order that gives packets back
  // their old path first. What cannot be removed stops none of the rest.
  struct Cleanup {
    std::vector<std::string> removed;
    std::vector<std::string> failed;  // with the reason
  };
  Cleanup remove_everything(const DeviceSpec& spec);

  // Readable when wireguard-go has ended; -1 with another backend. Its device is gone then:
  // ensure_device makes it anew.
  int process_exit_fd();

  Result<BackendChoice> ensure_device(const DeviceSpec& spec) override;
  Result<void> remove_device(const DeviceSpec& spec) override;
  void set_identity(const PrivateKey* key) override { identity_ = key; }

  Result<WgDevice> read_device() override;
  Result<std::vector<Link>> read_links() override { return route_.read_links(); }
  Result<std::vector<LocalAddress>> read_addresses() override { return route_.read_addresses(); }
  Result<std::vector<Route>> read_routes(std::uint32_t table) override {
    return route_.read_routes(table);
  }
  Result<std::vector<Rule>> read_rules() override { return route_.read_rules(); }
  Result<NftContents> read_nftables(const NftSpec& wanted) override;
  Result<std::vector<NftCounter>> read_counters(const NftSets& sets) override;
  Result<int> read_link_sysctl(const std::string& link, LinkSysctl sysctl) override;
  NftExpressions nft_expressions(const NftExpressions& wanted) override;
  Result<RouteLookup> lookup(const IpAddress& destination, std::uint32_t mark) override {
    return route_.lookup(destination, mark);
  }

  std::vector<Result<void>> apply(std::span<const Operation> operations) override;

  int event_fd() const override { return events_.fd(); }
  std::vector<KernelEvent> drain_events() override { return events_.drain(); }
  void watch_tables(std::set<std::uint32_t> tables) override {
    events_.watch_tables(std::move(tables));
  }

 private:
  // nftables, or why there is none.
  struct Nftables {
    NftablesTable table;
    NftablesElements elements;
  };
  using Batch = std::vector<const Operation*>;

  LinuxDataplane(Rtnetlink route, EventMonitor events, Result<Nftables> nftables)
      : route_(std::move(route)), events_(std::move(events)), nftables_(std::move(nftables)) {}
  static Result<Nftables> open_nftables();
  void tell_events_what_is_ours();

  static bool has_room(const Batch& batch, std::span<const Operation> rest);
  std::vector<Result<void>> execute(const Batch& batch);
  std::vector<Result<void>> change_peers(const Batch& batch);
  std::vector<Result<void>> change_elements(const Batch& batch);
  Result<void> execute_one(const Act& act);
  Result<void> configure_device(const WgDeviceChange& change);
  Result<void> configure_link(const ConfigureLink& act);
  Result<void> install_ruleset(const InstallRuleset& act);
  Result<int> device_index();

  Rtnetlink route_;
  EventMonitor events_;
  Result<Nftables> nftables_;
  MeshDevice device_;
  SysctlMemory sysctls_;
  const PrivateKey* identity_ = nullptr;
  NftExpressions nft_asked_{false, false, false};
  NftExpressions nft_has_;
};

}  // namespace mesh
