#include "meshd/daemon/config_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "mesh/nearest.h"

namespace mesh {
namespace {

std::string join(const std::string& section, std::string_view key) {
  return section.empty() ? std::string(key) : fmt::format("{}.{}", section, key);
}

std::string_view name_of(YamlNode::Kind kind) {
  switch (kind) {
    case YamlNode::Kind::kNull:
      return "nothing";
    case YamlNode::Kind::kScalar:
      return "a single value";
    case YamlNode::Kind::kSequence:
      return "a list";
    case YamlNode::Kind::kMapping:
      return "a mapping of keys";
  }
  return "";
}

}  // namespace

void ConfigReader::refuse(YamlPlace place, std::string key, std::string message) {
  message = printable(message);  // it can quote what the file holds
  problems_.push_back({file_, place.line, place.column, std::move(key), std::move(message)});
}

void ConfigReader::know(const std::string& section, std::string_view key) {
  known_.push_back({section, std::string(key)});
}

void ConfigReader::refuse_unknown(YamlPlace place, const std::string& section, std::string key) {
  unknown_.push_back({place, {section, std::move(key)}});
}

std::string ConfigReader::known_keys_of(const std::string& section) const {
  std::string result;
  for (const Key& key : known_)
    if (key.section == section) result += (result.empty() ? "" : ", ") + key.name;
  return result;
}

// The nearest key of the same section, or of another one, which counts as one more mistake.
std::string ConfigReader::explain_unknown(const Key& unknown) const {
  const Key* nearest = nullptr;
  std::tuple<std::size_t, bool> least;
  for (const Key& known : known_) {
    const bool elsewhere = known.section != unknown.section;
    const std::tuple<std::size_t, bool> rank{
        word_distance(unknown.name, known.name) + (elsewhere ? 1 : 0), elsewhere};
    if (!is_near(std::get<0>(rank), unknown.name, known.name) ||
        (nearest != nullptr && rank >= least))
      continue;
    nearest = &known;
    least = rank;
  }
  if (nearest == nullptr)
    return fmt::format("unknown key; the keys here are {}", known_keys_of(unknown.section));
  return fmt::format(
      "unknown key; did you mean '{}'?",
      nearest->section == unknown.section ? nearest->name : join(nearest->section, nearest->name));
}

ConfigProblems ConfigReader::take_problems() {
  // A file with more than that is another program's: no suggestion helps, and each takes time.
  constexpr std::size_t kMostSuggestions = 100;
  for (std::size_t i = 0; i < unknown_.size(); ++i) {
    const auto& [place, key] = unknown_[i];
    refuse(place, join(key.section, printable(key.name)),
           i < kMostSuggestions ? explain_unknown(key) : "unknown key");
  }
  unknown_.clear();
  std::stable_sort(problems_.begin(), problems_.end(), [](const auto& a, const auto& b) {
    return std::tie(a.line, a.column) < std::tie(b.line, b.column);
  });
  return std::move(problems_);
}

void ConfigSection::read(ConfigReader& reader, const YamlNode* node, YamlPlace place,
                         std::string path, const std::function<void(ConfigSection&)>& read) {
  ConfigSection section(reader, std::move(path));
  const bool is_mapping = node != nullptr && node->kind == YamlNode::Kind::kMapping;
  if (is_mapping) section.take_entries(*node);
  read(section);
  // "wireguard:" with every key below it commented out is an empty section, not a mistake.
  if (node != nullptr && !is_mapping && node->kind != YamlNode::Kind::kNull)
    reader.refuse(place, section.path_,
                  fmt::format("must be a mapping of the keys {}, not {}",
                              reader.known_keys_of(section.path_), name_of(node->kind)));
  for (const Entry& entry : section.entries_)
    if (!entry.known) reader.refuse_unknown(entry.key_place, section.path_, entry.key);
}

void ConfigSection::take_entries(const YamlNode& mapping) {
  const YamlTree& tree = reader_.tree();
  for (std::size_t i = 0; i + 1 < mapping.children.size(); i += 2) {
    const YamlNode& key = tree.at(mapping.children[i]);
    if (key.kind != YamlNode::Kind::kScalar) {
      reader_.refuse(key.place, path_,
                     fmt::format("a key must be a single word, not {}", name_of(key.kind)));
      continue;
    }
    if (const Entry* same = entry_of(key.text)) {
      reader_.refuse(
          key.place, full_key(key.text),
          fmt::format("given twice, first in line {}: keep one of them", same->key_place.line));
      continue;
    }
    index_.emplace(key.text, entries_.size());
    entries_.push_back({key.place, key.text, &tree.at(mapping.children[i + 1])});
  }
}

std::string ConfigSection::full_key(std::string_view key) const {
  return join(path_, printable(key));
}

const ConfigSection::Entry* ConfigSection::entry_of(std::string_view key) const {
  const auto found = index_.find(key);
  return found == index_.end() ? nullptr : &entries_[found->second];
}

const ConfigSection::Entry* ConfigSection::find(std::string_view key) {
  reader_.know(path_, key);
  const auto found = index_.find(key);
  if (found == index_.end()) return nullptr;
  Entry& entry = entries_[found->second];
  entry.known = true;
  return &entry;
}

bool ConfigSection::has(std::string_view key) const { return entry_of(key) != nullptr; }

YamlPlace ConfigSection::place_of(std::string_view key) const {
  const Entry* entry = entry_of(key);
  return entry == nullptr ? YamlPlace{} : entry->place();
}

void ConfigSection::refuse(std::string_view key, std::string message) {
  reader_.refuse(place_of(key), full_key(key), std::move(message));
}

bool ConfigSection::accept(std::string_view key, const Result<void>& checked) {
  if (!checked) refuse(key, checked.error().message);
  return checked.has_value();
}

const YamlNode* ConfigSection::find_scalar(std::string_view key, std::string_view wanted) {
  const Entry* entry = find(key);
  if (entry == nullptr) return nullptr;
  if (entry->value->kind == YamlNode::Kind::kScalar) return entry->value;
  if (entry->value->kind == YamlNode::Kind::kNull)
    refuse(key, fmt::format("has no value: write {}, or remove the key for its default", wanted));
  else
    refuse(key, fmt::format("must be {}, not {}", wanted, name_of(entry->value->kind)));
  return nullptr;
}

void ConfigSection::section(std::string_view key,
                            const std::function<void(ConfigSection&)>& inner) {
  const Entry* entry = find(key);
  read(reader_, entry == nullptr ? nullptr : entry->value,
       entry == nullptr ? YamlPlace{} : entry->place(), join(path_, key), inner);
}

bool ConfigSection::text(std::string_view key, std::string& value) {
  const YamlNode* node = find_scalar(key, "a text");
  if (node == nullptr) return false;
  value = node->text;
  return true;
}

bool ConfigSection::path(std::string_view key, std::filesystem::path& value, bool may_be_empty) {
  const YamlNode* node = find_scalar(key, "a path");
  if (node == nullptr) return false;
  if (node->text.empty() && !may_be_empty) {
    refuse(key, "must not be empty: write a path, or remove the key for its default");
    return false;
  }
  if (node->text.find_first_of(std::string_view("\0\n", 2)) != std::string::npos) {
    refuse(key, fmt::format("{} is not a path", in_quotes(node->text)));
    return false;
  }
  value = node->text;
  return true;
}

bool ConfigSection::boolean(std::string_view key, bool& value) {
  constexpr std::string_view kWanted = "true or false";
  const YamlNode* node = find_scalar(key, kWanted);
  if (node == nullptr) return false;
  if (node->quoted || (node->text != "true" && node->text != "false")) {
    refuse(key, fmt::format("must be {}, without quotes, not {}", kWanted, in_quotes(node->text)));
    return false;
  }
  value = node->text == "true";
  return true;
}

bool ConfigSection::duration(std::string_view key, Duration& value) {
  const YamlNode* node = find_scalar(key, "a duration such as 30s");
  if (node == nullptr) return false;
  const auto parsed = parse_duration(node->text);
  if (parsed)
    value = *parsed;
  else
    refuse(key, parsed.error().message);
  return parsed.has_value();
}

bool ConfigSection::number(std::string_view key, std::uint64_t minimum, std::uint64_t maximum,
                           std::uint64_t& value, bool may_be_quoted) {
  const YamlNode* node = find_scalar(key, "a number");
  if (node == nullptr) return false;
  const auto parsed = parse_whole_number(node->text, minimum, maximum);
  if (!parsed) {
    refuse(key, parsed.error().message);
    return false;
  }
  if (node->quoted && !may_be_quoted) {
    refuse(key, fmt::format("must be a number, not a text: write {} without quotes", *parsed));
    return false;
  }
  value = *parsed;
  return true;
}

bool ConfigSection::word_index(std::string_view key, std::span<const std::string_view> words,
                               std::size_t& index) {
  const std::string wanted = fmt::format("one of {}", fmt::join(words, ", "));
  const YamlNode* node = find_scalar(key, wanted);
  if (node == nullptr) return false;
  const auto found = std::find(words.begin(), words.end(), node->text);
  if (found != words.end()) {
    index = static_cast<std::size_t>(found - words.begin());
    return true;
  }
  const std::string_view nearest = nearest_word(node->text, words);
  refuse(key, nearest.empty() ? fmt::format("{} is not {}", in_quotes(node->text), wanted)
                              : fmt::format("{} is not {}; did you mean '{}'?",
                                            in_quotes(node->text), wanted, nearest));
  return false;
}

bool ConfigSection::list(std::string_view key, const std::function<void()>& clear,
                         const std::function<Result<void>(const std::string&)>& add) {
  const Entry* entry = find(key);
  if (entry == nullptr) return false;
  if (entry->value->kind != YamlNode::Kind::kSequence) {
    refuse(key,
           entry->value->kind == YamlNode::Kind::kNull
               ? "has no value: write [] for an empty list, or remove the key for its default"
               : fmt::format("must be a list such as [a, b], not {}", name_of(entry->value->kind)));
    return false;
  }
  clear();
  bool all_well = true;
  for (std::size_t i = 0; i < entry->value->children.size(); ++i) {
    const YamlNode& item = reader_.tree().at(entry->value->children[i]);
    const bool is_scalar = item.kind == YamlNode::Kind::kScalar;
    const Result<void> added =
        is_scalar
            ? add(item.text)
            : make_error(ErrorCode::kInvalid, "must be a single value, not {}", name_of(item.kind));
    if (added) continue;
    const bool has_place = item.kind != YamlNode::Kind::kNull;
    reader_.refuse(has_place ? item.place : entry->value->place,
                   fmt::format("{}[{}]", full_key(key), i), added.error().message);
    all_well = false;
  }
  return all_well;
}

bool ConfigSection::map(std::string_view key, std::map<std::string, std::string>& values) {
  const Entry* entry = find(key);
  if (entry == nullptr) return false;
  if (entry->value->kind != YamlNode::Kind::kMapping) {
    refuse(key, fmt::format("must be a mapping such as {{role: db}}, not {}",
                            name_of(entry->value->kind)));
    return false;
  }
  ConfigSection names(reader_, join(path_, key));
  names.take_entries(*entry->value);
  values.clear();
  for (const Entry& item : names.entries_) {
    if (item.key.empty())
      reader_.refuse(item.key_place, names.path_, "a name must not be empty");
    else if (item.value->kind == YamlNode::Kind::kScalar)
      values.emplace(item.key, item.value->text);
    else
      names.refuse(item.key, fmt::format("must be a single value, not {} (\"\" is an empty text)",
                                         name_of(item.value->kind)));
  }
  return true;
}

}  // namespace mesh
