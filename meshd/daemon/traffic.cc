#include "meshd/daemon/traffic.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <iterator>
#include <utility>

namespace mesh {
namespace {

// What a meter has counted since it was last seen: a smaller count is a new meter in the place of
// the old one.
std::uint64_t growth(std::uint64_t before, std::uint64_t now) {
  return now >= before ? now - before : now;
}

// Whom `item` counts for: its owner now, else the one it had; "": nobody.
template <class Key, class Meters>
const std::string& owner_of(const Key& item, const std::map<Key, std::string>& owners,
                            const Meters& meters) {
  static const std::string kNobody;
  if (const auto owner = owners.find(item); owner != owners.end()) return owner->second;
  const auto meter = meters.find(item);
  return meter == meters.end() ? kNobody : meter->second.node;
}

// Finds in a map what is asked for mostly in the map's order: then a step each.
template <class Map>
class InOrder {
 public:
  explicit InOrder(Map& map) : map_(map), at_(map.begin()) {}
  auto find(const typename Map::key_type& key) {
    if (at_ == map_.end() || at_->first != key) at_ = map_.lower_bound(key);
    return at_ == map_.end() || at_->first != key ? map_.end() : at_++;
  }

 private:
  Map& map_;
  decltype(std::declval<Map&>().begin()) at_;
};

std::string_view take_word(std::string_view& rest) {
  const std::size_t end = rest.find(' ');
  const std::string_view word = rest.substr(0, end);
  rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  return word;
}

bool take_number(std::string_view& rest, std::uint64_t& number) {
  const std::string_view word = take_word(rest);
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
  return error == std::errc() && end == word.data() + word.size();
}

std::optional<IpRange> parse_range(std::string_view text) {
  const auto first = IpAddress::parse(text.substr(0, text.find('-')));
  const auto last = IpAddress::parse(text.substr(text.find('-') + 1));
  if (!first || !last) return std::nullopt;
  return IpRange{*first, *last};
}

}  // namespace

void Traffic::update(const std::vector<NftCounter>& counters,
                     const std::map<NftElement, std::string>& owners, const NftSets& sets) {
  ++round_;
  const auto is_asked = [&](const auto& item) {
    return sets[static_cast<std::size_t>(item.first.set)];
  };
  const auto known =
      static_cast<std::size_t>(std::count_if(meters_.begin(), meters_.end(), is_asked));
  std::size_t continued = 0;
  InOrder owner_at(owners);
  InOrder meter_at(meters_);
  for (const NftCounter& counter : counters) {
    const auto owner = owner_at.find(counter.element);
    auto meter = meter_at.find(counter.element);
    const bool is_new = meter == meters_.end();
    if (owner == owners.end() ? is_new : owner->second.empty()) continue;  // counts for nobody
    if (is_new) meter = meters_.try_emplace(counter.element).first;
    Meter<Count>& seen = meter->second;
    if (owner != owners.end() && seen.node != owner->second) seen.node = owner->second;
    const Count now{counter.bytes, counter.packets};
    const bool continues = !is_new && seen.value.bytes <= now.bytes;
    if (continues) ++continued;
    const Count before = continues ? seen.value : Count{};
    if (now != before || is_new) {
      Count& total = totals_[seen.node][static_cast<std::size_t>(counter.element.set)];
      total.bytes += now.bytes - before.bytes;
      total.packets += growth(before.packets, now.packets);
    }
    seen.value = now;
    seen.round = round_;
  }
  if (continued != known) meters_went_ = true;
  std::erase_if(meters_,
                [&](const auto& item) { return is_asked(item) && item.second.round != round_; });
}

void Traffic::update_tunnels(const std::map<PublicKey, WgPeer>& peers,
                             const std::map<PublicKey, std::string>& owners) {
  std::map<PublicKey, Meter<Tunnel>> fresh;
  for (const auto& [key, peer] : peers) {
    const std::string& owner = owner_of(key, owners, keys_);
    if (owner.empty()) continue;
    Tunnel before;
    if (const auto meter = keys_.find(key); meter != keys_.end()) before = meter->second.value;
    if (peer.rx_bytes < before.rx || peer.tx_bytes < before.tx) meters_went_ = true;
    Tunnel& total = tunnels_[owner];
    total.rx += growth(before.rx, peer.rx_bytes);
    total.tx += growth(before.tx, peer.tx_bytes);
    fresh[key] = {owner, {peer.rx_bytes, peer.tx_bytes}};
  }
  if (fresh.size() < keys_.size()) meters_went_ = true;
  keys_ = std::move(fresh);
}

void Traffic::restart() {
  meters_went_ = meters_went_ || !meters_.empty();
  meters_.clear();
}

Traffic::Count Traffic::count(const std::string& node, NftSet set) const {
  const auto found = totals_.find(node);
  return found == totals_.end() ? Count{} : found->second[static_cast<std::size_t>(set)];
}

Traffic::Tunnel Traffic::tunnel(const std::string& node) const {
  const auto found = tunnels_.find(node);
  return found == tunnels_.end() ? Tunnel{} : found->second;
}

std::map<std::string, std::uint64_t> Traffic::all(NftSet set) const {
  std::map<std::string, std::uint64_t> result;
  for (const auto& [node, totals] : totals_)
    result[node] = totals[static_cast<std::size_t>(set)].bytes;
  return result;
}

void Traffic::keep_only(const std::set<std::string>& nodes) {
  std::erase_if(totals_, [&](const auto& item) { return !nodes.contains(item.first); });
  std::erase_if(tunnels_, [&](const auto& item) { return !nodes.contains(item.first); });
}

std::string Traffic::format() const {
  std::string text;
  const auto line = [&]<class... Args>(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(text), format, std::forward<Args>(args)...);
  };
  for (const auto& [node, totals] : totals_)
    for (int set = 0; set < kNftSetCount; ++set)
      if (const Count& count = totals[static_cast<std::size_t>(set)]; count != Count{})
        line("total {} {} {} {}\n", node, to_string(static_cast<NftSet>(set)), count.bytes,
             count.packets);
  for (const auto& [node, tunnel] : tunnels_) line("tunnel {} {} {}\n", node, tunnel.rx, tunnel.tx);
  for (const auto& [element, meter] : meters_)
    if (meter.value != Count{})
      line("meter {} {}-{} {} {} {}\n", to_string(element.set), element.range.first.to_string(),
           element.range.last.to_string(), meter.node, meter.value.bytes, meter.value.packets);
  for (const auto& [key, meter] : keys_)
    line("key {} {} {} {}\n", key.to_base64(), meter.node, meter.value.rx, meter.value.tx);
  return text;
}

Result<Traffic> Traffic::parse(std::string_view text) {
  Traffic traffic;
  const auto set_named = [](std::string_view name) -> std::optional<NftSet> {
    for (int set = 0; set < kNftSetCount; ++set)
      if (to_string(static_cast<NftSet>(set)) == name) return static_cast<NftSet>(set);
    return std::nullopt;
  };
  const auto read = [&](std::string_view line) {
    const std::string_view kind = take_word(line);
    if (kind == "total") {
      const std::string node(take_word(line));
      const auto set = set_named(take_word(line));
      Count count;
      if (!take_number(line, count.bytes) || !take_number(line, count.packets)) return false;
      if (set) traffic.totals_[node][static_cast<std::size_t>(*set)] = count;
    } else if (kind == "tunnel") {
      Tunnel& tunnel = traffic.tunnels_[std::string(take_word(line))];
      return take_number(line, tunnel.rx) && take_number(line, tunnel.tx);
    } else if (kind == "meter") {
      const auto set = set_named(take_word(line));
      const auto range = parse_range(take_word(line));
      Meter<Count> meter{std::string(take_word(line)), {}};
      if (!range || !take_number(line, meter.value.bytes) ||
          !take_number(line, meter.value.packets))
        return false;
      if (set) traffic.meters_[{*set, *range}] = std::move(meter);
    } else if (kind == "key") {
      const auto key = PublicKey::parse(take_word(line));
      Meter<Tunnel> meter{std::string(take_word(line)), {}};
      if (!key || !take_number(line, meter.value.rx) || !take_number(line, meter.value.tx))
        return false;
      traffic.keys_[*key] = std::move(meter);
    }
    return true;  // a kind that a later meshd writes
  };
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    if (!read(text.substr(0, end)))
      return make_error(ErrorCode::kInvalid, "line {} is none of meshd's", number);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return traffic;
}

}  // namespace mesh
