#include "meshd/daemon/yaml_tree.h"

#include <fmt/core.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <map>
#include <sstream>

namespace mesh {
namespace {

YamlPlace place_of(const YAML::Mark& mark) {
  if (mark.is_null()) return {};
  return {mark.line + 1, mark.column + 1};
}

// What yaml-cpp would misread silently instead of refusing: it takes byte 4 for the end of the
// file, and a tab before a key for part of the indentation of the line above.
std::optional<YamlProblem> find_unreadable_byte(std::string_view text) {
  YamlPlace place{1, 1};
  bool indentation = true;
  bool tab = false;
  YamlPlace tab_place;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n') {
      place = {place.line + 1, 1};
      indentation = true;
      tab = false;
      continue;
    }
    if ((byte < 0x20 && c != '\t' && c != '\r') || byte == 0x7f)
      return YamlProblem{place, fmt::format("byte {:#04x} is not text: save the file as UTF-8 "
                                            "without control characters",
                                            byte)};
    if (indentation && c == '\t' && !tab) {
      tab = true;
      tab_place = place;
    }
    if (indentation && c != ' ' && c != '\t') {
      indentation = false;
      if (tab && c != '#' && c != '\r')
        return YamlProblem{tab_place, "a tab in the indentation: YAML indents with spaces only"};
    }
    ++place.column;
  }
  return std::nullopt;
}

}  // namespace

// Receives the parser's events and lays the nodes down in document order.
class YamlTreeBuilder : public YAML::EventHandler {
 public:
  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ == 2) second_ = place_of(mark);
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    add(YamlNode::Kind::kNull, mark, anchor);
  }

  void OnAlias(const YAML::Mark&, YAML::anchor_t anchor) override {
    if (documents_ > 1) return;
    append_to_open(anchors_.at(anchor));
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    YamlNode* node = add(YamlNode::Kind::kScalar, mark, anchor);
    if (node == nullptr) return;
    node->text = value;
    node->quoted = tag == "!" || tag == "tag:yaml.org,2002:str";  // "!": quotes or a block
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(YamlNode::Kind::kSequence, mark, anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(YamlNode::Kind::kMapping, mark, anchor);
  }
  void OnMapEnd() override { close(); }

  // Where the second document starts, if there is one; its content is not kept.
  const std::optional<YamlPlace>& second_document() const { return second_; }

  YamlTree take() {
    if (tree_.nodes_.empty()) tree_.nodes_.emplace_back();  // no document: an empty one
    return std::move(tree_);
  }

 private:
  YamlNode* add(YamlNode::Kind kind, const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (documents_ > 1) return nullptr;
    const YamlNode::Index index = tree_.nodes_.size();
    tree_.nodes_.push_back({kind, place_of(mark), {}, false, {}});
    if (anchor != YAML::NullAnchor) anchors_[anchor] = index;
    append_to_open(index);
    return &tree_.nodes_.back();
  }

  void open(YamlNode::Kind kind, const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (add(kind, mark, anchor) != nullptr) open_.push_back(tree_.nodes_.size() - 1);
  }

  void close() {
    if (documents_ == 1) open_.pop_back();
  }

  void append_to_open(YamlNode::Index index) {
    if (!open_.empty()) tree_.nodes_[open_.back()].children.push_back(index);
  }

  YamlTree tree_;
  std::vector<YamlNode::Index> open_;  // the sequences and mappings around the current event
  std::map<YAML::anchor_t, YamlNode::Index> anchors_;
  int documents_ = 0;
  std::optional<YamlPlace> second_;
};

std::variant<YamlTree, YamlProblem> parse_yaml(std::string_view text) {
  if (auto problem = find_unreadable_byte(text)) return *problem;
  YamlTreeBuilder builder;
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    while (!builder.second_document() && parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::Exception& error) {
    return YamlProblem{place_of(error.mark),
                       fmt::format("not valid YAML: {} (check the indentation, the brackets and "
                                   "the quotes here and just before)",
                                   error.msg)};
  }
  if (builder.second_document())
    return YamlProblem{*builder.second_document(),
                       "a second document starts here: a configuration is one document, remove "
                       "this '---' and what follows"};
  return builder.take();
}

}  // namespace mesh
