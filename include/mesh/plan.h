// A plan: operations in the order they must happen, as values that can be printed, compared and
// injected with faults. Nothing secret is ever in one. Any thread.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "mesh/kernel.h"
#include "mesh/wireguard.h"

namespace mesh {

// Device-wide.
struct ConfigureDevice {
  WgDeviceChange change;
  friend bool operator==(const ConfigureDevice&, const ConfigureDevice&) = default;
};
struct ConfigureLink {  // mtu 0: leave; up is only ever set, never cleared
  std::uint32_t mtu = 0;
  bool up = false;
  friend bool operator==(const ConfigureLink&, const ConfigureLink&) = default;
};
struct AddAddress {  // on the mesh device, as a host prefix, without a connected route and without
                     // duplicate detection
  IpAddress address;
  friend bool operator==(const AddAddress&, const AddAddress&) = default;
};
struct RemoveAddress {
  IpAddress address;
  friend bool operator==(const RemoveAddress&, const RemoveAddress&) = default;
};
struct SetLinkSysctl {  // the link's own value; that of "all" is never written
  LinkSetting setting;
  friend bool operator==(const SetLinkSysctl&, const SetLinkSysctl&) = default;
};
struct PutRule {
  Rule rule;
  friend bool operator==(const PutRule&, const PutRule&) = default;
};
struct RemoveRule {
  Rule rule;
  friend bool operator==(const RemoveRule&, const RemoveRule&) = default;
};
// Table "inet meshd" in one transaction: the whole of it, with empty sets; or its rules alone,
// while its sets stay with what they hold.
struct InstallRuleset {
  NftSpec spec;
  bool keep_sets = false;
  friend bool operator==(const InstallRuleset&, const InstallRuleset&) = default;
};

// Per peer or prefix.
struct ChangePeer {
  WgPeerChange change;
  friend bool operator==(const ChangePeer&, const ChangePeer&) = default;
};
struct PutRoute {  // creates, or replaces the route of the same key in one step
  Route route;
  friend bool operator==(const PutRoute&, const PutRoute&) = default;
};
struct RemoveRoute {
  Route route;
  friend bool operator==(const RemoveRoute&, const RemoveRoute&) = default;
};
struct PutElement {
  NftElement element;
  friend bool operator==(const PutElement&, const PutElement&) = default;
};
struct RemoveElement {
  NftElement element;
  friend bool operator==(const RemoveElement&, const RemoveElement&) = default;
};

using Act = std::variant<ConfigureDevice, ConfigureLink, AddAddress, RemoveAddress, SetLinkSysctl,
                         PutRule, RemoveRule, InstallRuleset, ChangePeer, PutRoute, RemoveRoute,
                         PutElement, RemoveElement>;

struct Operation {
  std::string node;  // whose sake it is for; "" for the device's own. After a failure the node's
                     // later operations wait.
  Act act;
  friend bool operator==(const Operation&, const Operation&) = default;
};

using Plan = std::vector<Operation>;

std::string_view name_of(const Act& act);           // "put-route": the label of metrics and logs
std::string to_string(const Operation& operation);  // one line, for `meshctl plan` and --dry-run

}  // namespace mesh
