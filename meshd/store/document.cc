#include "meshd/store/document.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <unordered_set>
#include <utility>

#include "mesh/node_record.h"
#include "meshd/store/utf8.h"

namespace mesh {
namespace {

constexpr std::size_t kMaxDepth = 32;
constexpr std::size_t kMaxValues = 32768;  // four times what a record at its limits has
constexpr std::size_t kQuoted = 64;        // bytes of foreign text in a message

struct Place {
  int line = 0;
  int column = 0;
};

struct Problem {
  Place place;
  std::string message;
};

Error to_error(const Problem& problem, std::string_view place) {
  if (problem.place.line == 0)
    return make_error(ErrorCode::kInvalid, "{}: {}", place, problem.message);
  return make_error(ErrorCode::kInvalid, "{}:{}:{}: {}", place, problem.place.line,
                    problem.place.column, problem.message);
}

// Columns count bytes, as yaml-cpp's do.
Place place_of(std::string_view text, std::size_t offset) {
  Place place{1, 1};
  for (const char c : text.substr(0, offset)) {
    ++place.column;
    if (c == '\n') place = {place.line + 1, 1};
  }
  return place;
}

Result<void> check_text(std::string_view text, std::string_view place) {
  if (text.size() > kMaxRecordBytes)
    return make_error(ErrorCode::kInvalid, "{}: larger than {} bytes: no record is", place,
                      kMaxRecordBytes);
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint c = decode_utf8(text.substr(i));
    if (c.size == 0)
      return to_error({place_of(text, i), "not UTF-8: write the record in UTF-8"}, place);
    const bool space = c.value == '\t' || c.value == '\n' || c.value == '\r';
    if (c.value < 0x20 && !space)
      return to_error({place_of(text, i), "a control character: remove it"}, place);
    i += c.size;
  }
  return {};
}

// Puts the tree together from the events of either parser. Each call returns "" or what is wrong.
class DocumentBuilder {
 public:
  using Kind = DocumentNode::Kind;

  std::string begin(Kind kind, Place place) {
    if (open_.size() == kMaxDepth) return "nested too deeply: a record has no such depth";
    if (std::string problem = add(kind, place, {}); !problem.empty()) return problem;
    open_.push_back({last_, {}, {}, false});
    return {};
  }

  void end() { open_.pop_back(); }

  std::string null(Place place) {
    if (expects_key()) return "a key is missing: write `key: value`";
    return add(Kind::kNull, place, {});
  }

  std::string scalar(Place place, std::string text) {
    if (text.find('\0') != std::string::npos) return "a NUL byte: remove it";
    if (!expects_key()) return add(Kind::kScalar, place, std::move(text));
    Frame& frame = open_.back();
    if (!frame.seen.insert(text).second)
      return fmt::format("'{}' stands here a second time: remove one of the two",
                         printable(text, kQuoted));
    frame.key = std::move(text);
    frame.has_key = true;
    return {};
  }

  DocumentNode take() { return std::move(root_); }

 private:
  struct Frame {
    DocumentNode* node;  // stays where it is: its siblings come after it is closed
    std::unordered_set<std::string> seen;
    std::string key;
    bool has_key = false;
  };

  bool expects_key() const {
    return !open_.empty() && open_.back().node->kind == Kind::kMap && !open_.back().has_key;
  }

  std::string add(Kind kind, Place place, std::string text) {
    if (++values_ > kMaxValues)
      return fmt::format("more than {} values: no record has so many", kMaxValues);
    DocumentNode node{kind, place.line, place.column, {}, std::move(text), {}};
    if (open_.empty()) {
      root_ = std::move(node);
      last_ = &root_;
      return {};
    }
    Frame& frame = open_.back();
    if (expects_key()) return "a key must be text";
    node.key = std::exchange(frame.key, {});
    frame.has_key = false;
    last_ = &frame.node->children.emplace_back(std::move(node));
    return {};
  }

  DocumentNode root_;
  DocumentNode* last_ = nullptr;
  std::vector<Frame> open_;
  std::size_t values_ = 0;
};

// yaml-cpp's events carry no way to stop but an exception; it ends in parse_yaml_document.
class YamlEvents : public YAML::EventHandler {
 public:
  // `text` is what is parsed, without a byte order mark: yaml-cpp's positions are offsets in it.
  YamlEvents(std::string_view text, bool several) : text_(text), several_(several) {}
  std::vector<DocumentNode> take() { return std::move(documents_); }

  // yaml-cpp takes the end of the text for the closing quote when a line break precedes it.
  void check_last_quote() const {
    if (last_quoted_.is_null() ||
        is_closed(text_.substr(static_cast<std::size_t>(last_quoted_.pos))))
      return;
    fail(last_quoted_, "the quote that opens here is not closed");
  }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (!several_ && !documents_.empty())
      fail(mark, "a second document: one file holds one record");
  }
  void OnDocumentEnd() override { documents_.push_back(builder_.take()); }
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    refuse_extras(mark, {}, anchor);
    check(mark, builder_.null(place(mark)));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t /*anchor*/) override {
    fail(mark, kNoAnchors);
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    refuse_extras(mark, tag, anchor);
    const auto position = static_cast<std::size_t>(mark.pos);
    if (position < text_.size() && (text_[position] == '"' || text_[position] == '\''))
      last_quoted_ = mark;
    check(mark, builder_.scalar(place(mark), value));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value /*style*/) override {
    refuse_extras(mark, tag, anchor);
    check(mark, builder_.begin(DocumentNode::Kind::kList, place(mark)));
  }
  void OnSequenceEnd() override { builder_.end(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value /*style*/) override {
    refuse_extras(mark, tag, anchor);
    check(mark, builder_.begin(DocumentNode::Kind::kMap, place(mark)));
  }
  void OnMapEnd() override { builder_.end(); }

  static Place place(const YAML::Mark& mark) {
    // A null mark: yaml-cpp does not know.
    return mark.is_null() ? Place{} : Place{mark.line + 1, mark.column + 1};
  }

 private:
  static constexpr std::string_view kNoAnchors =
      "anchors and aliases are not read: write the value itself";

  [[noreturn]] static void fail(const YAML::Mark& mark, std::string_view message) {
    throw Problem{place(mark), std::string(message)};
  }
  static void check(const YAML::Mark& mark, const std::string& problem) {
    if (!problem.empty()) fail(mark, problem);
  }
  // "!" and "?" are yaml-cpp's own words for "in quotes" and "not in quotes".
  static void refuse_extras(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    if (anchor != YAML::NullAnchor) fail(mark, kNoAnchors);
    if (!tag.empty() && tag != "!" && tag != "?")
      fail(mark, "tags such as !!str are not read: remove it");
  }

  // Whether the quoted text that starts here ends.
  static bool is_closed(std::string_view text) {
    const char quote = text.front();
    for (std::size_t i = 1; i < text.size(); ++i) {
      const bool escape = quote == '"' && text[i] == '\\';
      const bool doubled = quote == '\'' && text.substr(i, 2) == "''";
      if (escape || doubled)
        ++i;
      else if (text[i] == quote)
        return true;
    }
    return false;
  }

  std::string_view text_;
  YAML::Mark last_quoted_ = YAML::Mark::null_mark();
  bool several_;
  DocumentBuilder builder_;
  std::vector<DocumentNode> documents_;
};

class JsonEvents : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit JsonEvents(std::string_view text) : text_(text) {}
  DocumentNode take() { return builder_.take(); }
  const Problem& problem() const { return problem_; }

  bool null() override { return check(builder_.null({})); }
  bool boolean(bool value) override { return check(builder_.scalar({}, value ? "true" : "false")); }
  bool number_integer(number_integer_t value) override {
    return check(builder_.scalar({}, std::to_string(value)));
  }
  bool number_unsigned(number_unsigned_t value) override {
    return check(builder_.scalar({}, std::to_string(value)));
  }
  bool number_float(number_float_t /*value*/, const string_t& text) override {
    return check(builder_.scalar({}, text));
  }
  bool string(string_t& value) override { return check(builder_.scalar({}, std::move(value))); }
  bool binary(binary_t& /*value*/) override { return check("binary data: remove it"); }
  bool start_object(std::size_t /*elements*/) override {
    return check(builder_.begin(DocumentNode::Kind::kMap, {}));
  }
  bool key(string_t& value) override { return check(builder_.scalar({}, std::move(value))); }
  bool end_object() override {
    builder_.end();
    return true;
  }
  bool start_array(std::size_t /*elements*/) override {
    return check(builder_.begin(DocumentNode::Kind::kList, {}));
  }
  bool end_array() override {
    builder_.end();
    return true;
  }
  bool parse_error(std::size_t position, const std::string& /*token*/,
                   const nlohmann::json::exception& /*error*/) override {
    const std::size_t offset = position == 0 ? 0 : position - 1;  // it counts from 1
    problem_ = {place_of(text_, offset), offset >= text_.size()
                                             ? "not JSON: it ends too early"
                                             : "not JSON: there is a mistake here"};
    return false;
  }

 private:
  bool check(std::string problem) {
    if (!problem.empty()) problem_.message = std::move(problem);
    return problem_.message.empty();
  }

  std::string_view text_;
  DocumentBuilder builder_;
  Problem problem_;
};

Problem empty_document() { return {{1, 1}, "empty: write a record, or remove it"}; }

// yaml-cpp's exceptions end here.
Result<std::vector<DocumentNode>> parse_yaml(std::string_view text, std::string_view place,
                                             bool several) {
  if (auto checked = check_text(text, place); !checked) return checked.error();
  try {
    constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
    if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    YamlEvents events(text, several);
    while (parser.HandleNextDocument(events)) {
    }
    events.check_last_quote();
    return events.take();
  } catch (const Problem& problem) {
    return to_error(problem, place);
  } catch (const YAML::Exception& error) {
    return to_error({YamlEvents::place(error.mark), "not YAML: " + printable(error.msg, 200)},
                    place);
  } catch (const std::exception& error) {
    return make_error(ErrorCode::kInvalid, "{}: cannot be read as YAML: {}", place,
                      printable(error.what(), 200));
  }
}

}  // namespace

std::string_view to_string(DocumentNode::Kind kind) {
  switch (kind) {
    case DocumentNode::Kind::kNull:
      return "empty";
    case DocumentNode::Kind::kScalar:
      return "text";
    case DocumentNode::Kind::kList:
      return "a list";
    case DocumentNode::Kind::kMap:
      return "a map";
  }
  return "";
}

const DocumentNode* DocumentNode::find(std::string_view member) const {
  const auto found = std::find_if(children.begin(), children.end(),
                                  [&](const DocumentNode& child) { return child.key == member; });
  return found == children.end() ? nullptr : &*found;
}

Error error_at(const DocumentNode& node, std::string_view place, std::string_view message) {
  return to_error({{node.line, node.column}, std::string(message)}, place);
}

Result<DocumentNode> parse_yaml_document(std::string_view text, std::string_view place) {
  auto documents = parse_yaml(text, place, /*several=*/false);
  if (!documents) return documents.error();
  if (documents->empty()) return to_error(empty_document(), place);
  return std::move(documents->front());
}

Result<std::vector<DocumentNode>> parse_yaml_documents(std::string_view text,
                                                       std::string_view place) {
  return parse_yaml(text, place, /*several=*/true);
}

Result<DocumentNode> parse_json_document(std::string_view text, std::string_view place) {
  if (auto checked = check_text(text, place); !checked) return checked.error();
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos)
    return to_error(empty_document(), place);
  try {
    JsonEvents events(text);
    if (!nlohmann::json::sax_parse(text.begin(), text.end(), &events))
      return to_error(events.problem(), place);
    return events.take();
  } catch (const std::exception& error) {
    return make_error(ErrorCode::kInvalid, "{}: cannot be read as JSON: {}", place,
                      printable(error.what(), 200));
  }
}

}  // namespace mesh
