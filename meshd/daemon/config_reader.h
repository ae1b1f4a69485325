// ConfigReader, ConfigSection: read a YamlTree key by key into a struct, and collect every problem
// on the way.
//
// The code that asks for the keys is the schema: a key nobody asked for is unknown, and what was
// asked for is what is suggested. Values are left as they were (the default) where the key is
// absent or wrong. One thread.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mesh/result.h"
#include "meshd/daemon/config.h"
#include "meshd/daemon/config_values.h"
#include "meshd/daemon/yaml_tree.h"

namespace mesh {

// One enumeration's words, as in the contract.
template <class E, std::size_t N>
using ConfigWords = std::array<std::pair<E, std::string_view>, N>;

class ConfigReader {
 public:
  ConfigReader(const YamlTree& tree, std::string_view file) : tree_(tree), file_(file) {}

  const YamlTree& tree() const { return tree_; }
  void refuse(YamlPlace place, std::string key, std::string message);

  // Called by the sections: what the schema knows, and what it does not.
  void know(const std::string& section, std::string_view key);
  void refuse_unknown(YamlPlace place, const std::string& section, std::string key);
  std::string known_keys_of(const std::string& section) const;  // "a, b, c"

  // Every problem in the order of the file, once all sections have been read.
  ConfigProblems take_problems();

 private:
  struct Key {
    std::string section;
    std::string name;
  };
  struct UnknownKey {
    YamlPlace place;
    Key key;
  };
  std::string explain_unknown(const Key& unknown) const;

  const YamlTree& tree_;
  std::string file_;
  ConfigProblems problems_;
  std::vector<Key> known_;
  std::vector<UnknownKey> unknown_;  // explained last, when all known keys are known
};

// One mapping of the file, or its absence, in which every key is absent.
class ConfigSection {
 public:
  // Makes the section, lets `read` ask for its keys, then refuses those that `read` did not ask
  // for. `path` is "" for the whole file. `place` is where a mapping of the wrong type is reported.
  static void read(ConfigReader& reader, const YamlNode* node, YamlPlace place, std::string path,
                   const std::function<void(ConfigSection&)>& read);
  void section(std::string_view key, const std::function<void(ConfigSection&)>& read);

  // Each knows its key, and gives false when the key is absent or was refused: the value is then
  // the default and needs no further check.
  bool text(std::string_view key, std::string& value);
  bool path(std::string_view key, std::filesystem::path& value, bool may_be_empty = false);
  bool boolean(std::string_view key, bool& value);
  bool duration(std::string_view key, Duration& value);
  bool number(std::string_view key, std::uint64_t minimum, std::uint64_t maximum,
              std::uint64_t& value, bool may_be_quoted = false);
  template <class N>
  bool number(std::string_view key, std::uint64_t minimum, std::uint64_t maximum, N& value,
              bool may_be_quoted = false) {
    std::uint64_t wide = 0;
    if (!number(key, minimum, maximum, wide, may_be_quoted)) return false;
    value = static_cast<N>(wide);
    return true;
  }
  template <class E, std::size_t N>
  bool word(std::string_view key, const ConfigWords<E, N>& words, E& value) {
    std::array<std::string_view, N> texts;
    for (std::size_t i = 0; i < N; ++i) texts[i] = words[i].second;
    std::size_t index = 0;
    if (!word_index(key, texts, index)) return false;
    value = words[index].first;
    return true;
  }
  // A list of scalars: `add` takes one item's text and refuses it by an error. A list that is there
  // replaces the default even when it is empty.
  bool list(std::string_view key, const std::function<void()>& clear,
            const std::function<Result<void>(const std::string&)>& add);
  // A mapping of names to scalars whose names are the user's own.
  bool map(std::string_view key, std::map<std::string, std::string>& values);

  bool has(std::string_view key) const;  // whether the file gives the key any value at all
  YamlPlace place_of(std::string_view key) const;  // of the value; no place when it is absent
  // Refuses the value of `key`, at its place.
  void refuse(std::string_view key, std::string message);
  // Refuses it unless `checked` is well.
  bool accept(std::string_view key, const Result<void>& checked);

 private:
  struct Entry {
    YamlPlace key_place;
    std::string key;
    const YamlNode* value;
    bool known = false;
    // An empty value's own place is that of whatever follows it.
    YamlPlace place() const {
      return value->kind == YamlNode::Kind::kNull ? key_place : value->place;
    }
  };

  ConfigSection(ConfigReader& reader, std::string path) : reader_(reader), path_(std::move(path)) {}
  void take_entries(const YamlNode& mapping);
  const Entry* entry_of(std::string_view key) const;
  const Entry* find(std::string_view key);  // and knows it
  const YamlNode* find_scalar(std::string_view key, std::string_view wanted);
  bool word_index(std::string_view key, std::span<const std::string_view> words,
                  std::size_t& index);
  std::string full_key(std::string_view key) const;

  ConfigReader& reader_;
  std::string path_;
  std::vector<Entry> entries_;                             // in the order of the file
  std::map<std::string, std::size_t, std::less<>> index_;  // into entries_, by key
};

}  // namespace mesh
