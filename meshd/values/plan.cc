// Plans in words: one line an operation.
#include "mesh/plan.h"

#include <fmt/format.h>

namespace mesh {
namespace {

std::string text_of(const Route& route) {
  std::string_view type;
  switch (route.type) {
    case RouteType::kUnicast:
      type = "unicast";
      break;
    case RouteType::kThrow:
      type = "throw";
      break;
    case RouteType::kUnreachable:
      type = "unreachable";
      break;
    case RouteType::kOther:
      type = "other";
      break;
  }
  std::string text =
      fmt::format("{} {} table {} metric {}", type, route.key.destination.to_string(),
                  route.key.table, route.key.metric);
  if (route.oif != 0) text += fmt::format(" oif {}", route.oif);
  if (route.preferred_source) text += fmt::format(" src {}", route.preferred_source->to_string());
  if (route.mtu != 0) text += fmt::format(" mtu {}", route.mtu);
  return text;
}

std::string text_of(const Rule& rule) {
  std::string text = fmt::format("IPv{} {}:", static_cast<int>(rule.family), rule.priority);
  if (rule.invert) text += " not";
  if (rule.source) text += fmt::format(" from {}", rule.source->to_string());
  if (rule.destination) text += fmt::format(" to {}", rule.destination->to_string());
  if (rule.fwmask != 0) text += fmt::format(" fwmark {:#x}/{:#x}", rule.fwmark, rule.fwmask);
  if (rule.locally_made) text += " iif lo";
  if (rule.ip_protocol != IpProtocol::kAny)
    text += fmt::format(" ipproto {}", to_string(rule.ip_protocol));
  if (!rule.source_ports.any()) text += " sport " + rule.source_ports.to_string();
  if (!rule.destination_ports.any()) text += " dport " + rule.destination_ports.to_string();
  return text + fmt::format(" lookup {}", rule.table);
}

std::string text_of(const NftElement& element) {
  return fmt::format("{}{} {}", to_string(element.set),
                     static_cast<int>(element.range.first.family()), element.range.to_string());
}

void append_list(std::string& text, std::string_view label, const std::vector<Cidr>& cidrs) {
  if (cidrs.empty()) return;
  text += label;
  for (const Cidr& cidr : cidrs) text += " " + cidr.to_string();
}

struct Describe {
  std::string operator()(const ConfigureDevice& act) const {
    std::string text = "device:";
    if (act.change.set_private_key) text += " private-key (hidden)";
    if (act.change.listen_port) text += fmt::format(" listen-port {}", *act.change.listen_port);
    if (act.change.fwmark) text += fmt::format(" fwmark {:#x}", *act.change.fwmark);
    return text;
  }
  std::string operator()(const ConfigureLink& act) const {
    return fmt::format("link:{}{}", act.mtu != 0 ? fmt::format(" mtu {}", act.mtu) : "",
                       act.up ? " up" : "");
  }
  std::string operator()(const AddAddress& act) const {
    return "address: add " + act.address.to_string();
  }
  std::string operator()(const RemoveAddress& act) const {
    return "address: remove " + act.address.to_string();
  }
  std::string operator()(const SetLinkSysctl& act) const {
    return fmt::format("sysctl: net.ipv4.conf.{}.{} = {}", act.setting.link,
                       to_string(act.setting.sysctl), act.setting.value);
  }
  std::string operator()(const PutRule& act) const { return "rule: add " + text_of(act.rule); }
  std::string operator()(const RemoveRule& act) const {
    return "rule: remove " + text_of(act.rule);
  }
  std::string operator()(const InstallRuleset& act) const {
    return fmt::format("nftables: install {}table inet meshd (device {}, fwmark {:#x})",
                       act.keep_sets ? "the rules of " : "", act.spec.device, act.spec.fwmark);
  }
  std::string operator()(const ChangePeer& act) const {
    const WgPeerChange& change = act.change;
    std::string text = fmt::format("peer {}:", change.key.to_base64());
    if (change.remove) return text + " remove";
    if (change.anew) text += " make again";
    append_list(text, " allowed-ips +", change.add_allowed_ips);
    append_list(text, " allowed-ips -", change.remove_allowed_ips);
    if (change.keepalive) text += fmt::format(" persistent-keepalive {}", *change.keepalive);
    if (change.endpoint) text += " endpoint " + change.endpoint->to_string();
    if (change.kick) text += " start a handshake";
    return text;
  }
  std::string operator()(const PutRoute& act) const { return "route: put " + text_of(act.route); }
  std::string operator()(const RemoveRoute& act) const {
    return "route: remove " + text_of(act.route);
  }
  std::string operator()(const PutElement& act) const {
    return "nftables: add " + text_of(act.element);
  }
  std::string operator()(const RemoveElement& act) const {
    return "nftables: remove " + text_of(act.element);
  }
};

struct Name {
  std::string_view operator()(const ConfigureDevice&) const { return "configure-device"; }
  std::string_view operator()(const ConfigureLink&) const { return "configure-link"; }
  std::string_view operator()(const AddAddress&) const { return "add-address"; }
  std::string_view operator()(const RemoveAddress&) const { return "remove-address"; }
  std::string_view operator()(const SetLinkSysctl&) const { return "set-sysctl"; }
  std::string_view operator()(const PutRule&) const { return "put-rule"; }
  std::string_view operator()(const RemoveRule&) const { return "remove-rule"; }
  std::string_view operator()(const InstallRuleset&) const { return "install-ruleset"; }
  std::string_view operator()(const ChangePeer&) const { return "change-peer"; }
  std::string_view operator()(const PutRoute&) const { return "put-route"; }
  std::string_view operator()(const RemoveRoute&) const { return "remove-route"; }
  std::string_view operator()(const PutElement&) const { return "put-element"; }
  std::string_view operator()(const RemoveElement&) const { return "remove-element"; }
};

}  // namespace

std::string_view name_of(const Act& act) { return std::visit(Name{}, act); }

std::string to_string(const Operation& operation) {
  const std::string text = std::visit(Describe{}, operation.act);
  return operation.node.empty() ? text : fmt::format("{} ({})", text, operation.node);
}

}  // namespace mesh
