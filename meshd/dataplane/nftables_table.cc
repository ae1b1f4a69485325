#include "meshd/dataplane/nftables_table.h"

#include <arpa/inet.h>
#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/rule.h>
#include <libnftnl/table.h>
#include <libnftnl/udata.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <nftables/libnftables.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <string>
#include <vector>

#include "meshd/dataplane/nftables_ruleset.h"

namespace mesh {
namespace {

template <auto kFree>
struct Free {
  template <class T>
  void operator()(T* object) const {
    kFree(object);
  }
};
using TablePointer = std::unique_ptr<nftnl_table, Free<nftnl_table_free>>;
using ChainPointer = std::unique_ptr<nftnl_chain, Free<nftnl_chain_free>>;
using RulePointer = std::unique_ptr<nftnl_rule, Free<nftnl_rule_free>>;
using ContextPointer = std::unique_ptr<nft_ctx, Free<nft_ctx_free>>;

// How nft keeps comments: type-length-value records in the object's user data. The types are those
// of enum nftnl_udata_table_types and nftnl_udata_rule_types.
struct Comment {
  std::uint8_t type;
  std::string text;
};

int take_comment(const nftnl_udata* record, void* result) {
  auto& comment = *static_cast<Comment*>(result);
  if (nftnl_udata_type(record) != comment.type || nftnl_udata_len(record) == 0) return 0;
  const auto* text = static_cast<const char*>(nftnl_udata_get(record));
  comment.text.assign(text, strnlen(text, nftnl_udata_len(record)));
  return 0;
}

// nftnl_udata_parse trusts the record's lengths: a table somebody else made may hold anything.
bool is_well_formed(const std::uint8_t* data, std::uint32_t size) {
  std::uint32_t at = 0;
  while (at + 2 <= size) at += 2U + data[at + 1];
  return at == size;
}

std::string comment_in(const void* user_data, std::uint32_t size, std::uint8_t type) {
  Comment comment{type, {}};
  const auto* bytes = static_cast<const std::uint8_t*>(user_data);
  if (bytes != nullptr && is_well_formed(bytes, size))
    (void)nftnl_udata_parse(bytes, size, take_comment, &comment);
  return comment.text;
}

NetlinkMessage nft_request(std::uint16_t message, std::uint8_t family, std::uint16_t flags) {
  NetlinkMessage request(static_cast<std::uint16_t>(NFNL_SUBSYS_NFTABLES << 8 | message), flags);
  request.put_header(nfgenmsg{.nfgen_family = family, .version = NFNETLINK_V0, .res_id = 0});
  return request;
}

Error missing(std::string_view why) {
  return make_error(ErrorCode::kNotFound, "nftables table inet {}: {}", kNftTable, why);
}

// libnftables prints several lines with carets; the first says what and why.
std::string first_line(const char* text) {
  const std::string_view all(text == nullptr ? "" : text);
  return std::string(all.substr(0, all.find('\n')));
}

}  // namespace

Result<NftablesTable> NftablesTable::open() {
  const auto unsupported = [](const Error& error) {
    return Error{
        ErrorCode::kUnsupported,
        fmt::format("this kernel has no nf_tables ({}); load it with `modprobe nf_tables`, "
                    "or use a kernel with CONFIG_NF_TABLES and CONFIG_NF_TABLES_INET",
                    error.message),
        error.sys_errno};
  };
  auto socket = NetlinkSocket::open(NETLINK_NETFILTER);
  if (!socket) return unsupported(socket.error());
  NftablesTable table(std::move(*socket));
  if (auto learned = table.learn_process_id(); !learned) {
    if (learned.error().code == ErrorCode::kPermission) return learned.error().at("nftables");
    return unsupported(learned.error());
  }
  return table;
}

// The answer to NFT_MSG_GETGEN names the asking process as the events of its transactions will.
Result<void> NftablesTable::learn_process_id() {
  NetlinkMessage request = nft_request(NFT_MSG_GETGEN, AF_UNSPEC, 0);
  return socket_.query(request, [&](const nlmsghdr& message) -> Result<void> {
    AttributeReader reader(attributes_of(message, sizeof(nfgenmsg)));
    while (const auto attribute = reader.next())
      if (attribute->type == NFTA_GEN_PROC_PID)
        process_id_ = ntohl(attribute->as<std::uint32_t>().value_or(0));
    return {};
  });
}

Result<void> NftablesTable::install(const NftSpec& spec, bool keep_sets) {
  const auto ruleset = make_ruleset(spec);
  if (!ruleset) return ruleset.error();
  if (!keep_sets) return run(whole_table(*ruleset), "install");
  const auto tag = read_tag();
  if (!tag) return tag.error();
  if (*tag != ruleset->tag) return missing("its sets are not of this version and configuration");
  const auto chains = read_chains();
  if (!chains) return chains.error();
  const auto text = rules_alone(*ruleset, *chains);
  if (!text) return text.error();
  return run(*text, "install the rules of");
}

Result<void> NftablesTable::run(const std::string& text, std::string_view act, bool dry) {
  // Also proves that nfnetlink answers: libnftables ends the process when it cannot open a socket.
  if (auto learned = learn_process_id(); !learned) return learned.error().at("nftables");
  const ContextPointer context(nft_ctx_new(NFT_CTX_DEFAULT));
  if (!context || nft_ctx_buffer_output(context.get()) != 0 ||
      nft_ctx_buffer_error(context.get()) != 0)
    return make_error(ErrorCode::kInternal, "nftables: libnftables has no memory");
  nft_ctx_set_dry_run(context.get(), dry);  // the kernel looks at all of it, and then drops it
  errno = 0;
  if (nft_run_cmd_from_buffer(context.get(), text.c_str()) == 0) return {};
  const std::string line = first_line(nft_ctx_get_error_buffer(context.get()));
  const bool refused = line.find("Operation not permitted") != std::string::npos;
  return make_error(refused ? ErrorCode::kPermission : ErrorCode::kUnsupported,
                    "{} nftables table inet {}: {} (it needs CAP_NET_ADMIN and a kernel of 5.10 "
                    "or later with nf_tables, its inet family, counters and route chains)",
                    act, kNftTable, line);
}

Result<std::string> NftablesTable::remove() {
  const auto tag = read_tag();
  if (!tag && tag.error().code == ErrorCode::kNotFound) return std::string();
  if (!tag) return tag.error();
  const auto device = device_of_ruleset_tag(*tag);
  if (!device)
    return make_error(ErrorCode::kExists, "nftables table inet {} is not meshd's: it stays",
                      kNftTable);
  if (auto done = run(fmt::format("delete table inet {}\n", kNftTable), "delete"); !done)
    return done.error();
  return *device;
}

Result<std::string> NftablesTable::read_tag(bool* dormant) {
  NetlinkMessage request = nft_request(NFT_MSG_GETTABLE, NFPROTO_INET, 0);
  request.put_string(NFTA_TABLE_NAME, kNftTable);
  std::string tag;
  auto result = socket_.query(request, [&](const nlmsghdr& message) -> Result<void> {
    const TablePointer table(nftnl_table_alloc());
    if (!table || nftnl_table_nlmsg_parse(&message, table.get()) != 0)
      return make_error(ErrorCode::kInvalid, "the kernel sent a malformed table message");
    std::uint32_t size = 0;
    const void* data = nftnl_table_get_data(table.get(), NFTNL_TABLE_USERDATA, &size);
    tag = comment_in(data, size, NFTNL_UDATA_TABLE_COMMENT);
    if (dormant != nullptr)
      *dormant = (nftnl_table_get_u32(table.get(), NFTNL_TABLE_FLAGS) & NFT_TABLE_F_DORMANT) != 0;
    return {};
  });
  if (!result && result.error().sys_errno == ENOENT) return missing("it is not there");
  if (!result) return result.error().at("read nftables table");
  return tag;
}

// The tag holds a hash of the sets' text, and a rule one of the others'.
Result<bool> NftablesTable::check(const NftSpec& expected) {
  bool dormant = false;
  const auto tag = read_tag(&dormant);
  if (!tag) return tag.error();
  if (dormant) return missing("somebody has turned it off (flags dormant)");
  const auto wanted = make_ruleset(expected);
  if (!wanted) return wanted.error();
  if (*tag != wanted->tag) return missing("it is of another version or configuration of meshd");
  const auto rules = read_rules();
  if (!rules) return rules.error();
  return *rules == wanted->rules;
}

NftExpressions NftablesTable::probe(const NftExpressions& wanted) {
  const auto rule = [](bool asked, std::string_view text) { return asked ? text : "accept"; };
  const std::string_view ct = rule(wanted.ct, "ct mark 1 ct direction original accept");
  const std::string_view fib = rule(wanted.fib, "fib daddr type local accept");
  const std::string_view socket = rule(wanted.socket, "socket wildcard 1 accept");
  if (takes(fmt::format("{}\n{}\n{}", ct, fib, socket)) || !takes("accept")) return {};
  return {takes(ct), takes(fib), takes(socket)};
}

bool NftablesTable::takes(std::string_view rules) {
  return run(fmt::format("table inet {}_probe {{\nchain probe {{\n"
                         "type filter hook prerouting priority 0;\n{}\n}}\n}}\n",
                         kNftTable, rules),
             "probe", true)
      .has_value();
}

Result<std::vector<std::string>> NftablesTable::read_chains() {
  auto chains = retry_interrupted([&]() -> Result<std::vector<std::string>> {
    std::vector<std::string> found;
    NetlinkMessage request = nft_request(NFT_MSG_GETCHAIN, NFPROTO_INET, NLM_F_DUMP);
    auto dumped = socket_.dump(request, [&](const nlmsghdr& message) -> Result<void> {
      const ChainPointer chain(nftnl_chain_alloc());
      if (!chain || nftnl_chain_nlmsg_parse(&message, chain.get()) != 0)
        return make_error(ErrorCode::kInvalid, "the kernel sent a malformed chain message");
      const char* table = nftnl_chain_get_str(chain.get(), NFTNL_CHAIN_TABLE);
      const char* name = nftnl_chain_get_str(chain.get(), NFTNL_CHAIN_NAME);
      if (table != nullptr && name != nullptr && kNftTable == table) found.emplace_back(name);
      return {};
    });
    if (!dumped) return std::move(dumped).error();
    return found;
  });
  if (!chains) return chains.error().at("read nftables chains");
  return chains;
}

Result<std::vector<NftRuleLabel>> NftablesTable::read_rules() {
  auto rules = retry_interrupted([&]() -> Result<std::vector<NftRuleLabel>> {
    std::vector<NftRuleLabel> found;
    NetlinkMessage request = nft_request(NFT_MSG_GETRULE, NFPROTO_INET, NLM_F_DUMP);
    request.put_string(NFTA_RULE_TABLE, kNftTable);
    auto dumped = socket_.dump(request, [&](const nlmsghdr& message) -> Result<void> {
      const RulePointer rule(nftnl_rule_alloc());
      if (!rule || nftnl_rule_nlmsg_parse(&message, rule.get()) != 0)
        return make_error(ErrorCode::kInvalid, "the kernel sent a malformed rule message");
      const char* table = nftnl_rule_get_str(rule.get(), NFTNL_RULE_TABLE);
      const char* chain = nftnl_rule_get_str(rule.get(), NFTNL_RULE_CHAIN);
      if (table == nullptr || chain == nullptr || kNftTable != table) return {};
      std::uint32_t size = 0;
      const void* data = nftnl_rule_get_data(rule.get(), NFTNL_RULE_USERDATA, &size);
      found.push_back({chain, comment_in(data, size, NFTNL_UDATA_RULE_COMMENT)});
      return {};
    });
    if (!dumped) return std::move(dumped).error();
    return found;
  });
  if (!rules) return rules.error().at("read nftables rules");
  std::stable_sort(rules->begin(), rules->end(),
                   [](const NftRuleLabel& a, const NftRuleLabel& b) { return a.chain < b.chain; });
  return rules;
}

}  // namespace mesh
