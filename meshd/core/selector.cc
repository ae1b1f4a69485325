#include "core/selector.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

namespace mesh {
namespace {

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

bool is_label_byte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '_' || c == '.' || c == '/';
}

void append_quoted(std::string& out, std::string_view value) {
  // A value that was parsed holds one kind of quote at most.
  const char quote = value.find('"') == std::string_view::npos ? '"' : '\'';
  out.append(1, quote).append(value).append(1, quote);
}

}  // namespace

// Recursive descent, one function for each level of the grammar. After a failure the functions go
// on returning until all are left; the first failure counts.
class SelectorParser {
 public:
  using Node = Selector::Node;
  using Op = Selector::Op;

  explicit SelectorParser(std::string_view text) : text_(text) {}

  Result<Selector> parse() {
    if (text_.size() > kMaxSelectorBytes)
      return make_error(ErrorCode::kInvalid, "column {}: longer than the {} bytes that are read",
                        kMaxSelectorBytes + 1, kMaxSelectorBytes);
    Selector selector;
    selector.root_ = read_or();
    skip_spaces();
    if (at_ < text_.size()) fail("&&, || or the end");
    if (!problem_.empty()) return Error{ErrorCode::kInvalid, problem_, 0};
    return selector;
  }

 private:
  Node read_or() {
    return read_joined(Op::kOr, "||", [this] {
      return read_joined(Op::kAnd, "&&", [this] { return read_term(); });
    });
  }

  template <class ReadPart>
  Node read_joined(Op op, std::string_view sign, ReadPart read_part) {
    Node first = read_part();
    if (!take(sign)) return first;
    Node joined{op, {}, {}, {}};
    add_part(joined, std::move(first));
    do add_part(joined, read_part());
    while (take(sign));
    return joined;
  }

  // What parentheses only group is the same without them.
  static void add_part(Node& joined, Node part) {
    if (part.op == joined.op)
      std::move(part.children.begin(), part.children.end(), std::back_inserter(joined.children));
    else
      joined.children.push_back(std::move(part));
  }

  Node read_term() {
    if (++depth_ > Selector::kMaxDepth) {
      fail_with(fmt::format("nested more than {} deep", Selector::kMaxDepth));
      return {};
    }
    Node node = read_nested_term();
    --depth_;
    return node;
  }

  Node read_nested_term() {
    if (peek('!')) {
      ++at_;
      Node node{Op::kNot, {}, {}, {}};
      node.children.push_back(read_term());
      return node;
    }
    if (take("(")) {
      Node node = read_or();
      if (!take(")")) fail("')'");
      return node;
    }
    const std::size_t start = at_;
    const std::string_view word = read_word();
    if (word.empty()) {
      fail("a label, has(), all(), global(), '!' or '('");
      return {};
    }
    if (peek('(')) return read_call(word, start);
    return read_comparison(std::string(word));
  }

  Node read_call(std::string_view word, std::size_t start) {
    Node node;
    if (word == "has") {
      (void)take("(");
      node = {Op::kHas, std::string(read_word()), {}, {}};
      if (node.label.empty()) fail("a label");
    } else if (word == "all" || word == "global") {
      (void)take("(");
    } else {
      at_ = start;
      skip_spaces();
      fail("has(), all() or global()");
      return node;
    }
    if (!take(")")) fail("')'");
    return node;
  }

  Node read_comparison(std::string label) {
    if (take("==")) return {Op::kEqual, std::move(label), {read_value()}, {}};
    if (take("!=")) return {Op::kNotEqual, std::move(label), {read_value()}, {}};
    skip_spaces();
    const std::size_t start = at_;
    const std::string_view word = read_word();
    if (word == "in") return {Op::kIn, std::move(label), read_set(), {}};
    if (word == "notin" || (word == "not" && read_word() == "in"))
      return {Op::kNotIn, std::move(label), read_set(), {}};
    if (word == "contains") return {Op::kContains, std::move(label), {read_value()}, {}};
    if (word == "startswith" || (word == "starts" && read_word() == "with"))
      return {Op::kStartsWith, std::move(label), {read_value()}, {}};
    if (word == "endswith" || (word == "ends" && read_word() == "with"))
      return {Op::kEndsWith, std::move(label), {read_value()}, {}};
    at_ = start;
    fail("==, !=, in, not in, contains, starts with or ends with");
    return {};
  }

  std::string read_value() {
    if (!peek('"') && !peek('\'')) {
      fail("a value in quotes");
      return {};
    }
    const char quote = text_[at_];
    const std::size_t end = text_.find(quote, at_ + 1);
    if (end == std::string_view::npos) {
      fail_with("the quote that opens here is not closed");
      return {};
    }
    std::string value(text_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    return value;
  }

  std::vector<std::string> read_set() {
    std::vector<std::string> values;
    if (!take("{")) {
      fail("'{'");
      return values;
    }
    if (!take("}")) {
      do values.push_back(read_value());
      while (problem_.empty() && take(","));
      if (!take("}")) fail("',' or '}'");
    }
    std::sort(values.begin(), values.end());
    values.erase(std::unique(values.begin(), values.end()), values.end());
    return values;
  }

  std::string_view read_word() {
    skip_spaces();
    const std::size_t start = at_;
    while (at_ < text_.size() && is_label_byte(text_[at_])) ++at_;
    return text_.substr(start, at_ - start);
  }

  bool peek(char c) {
    skip_spaces();
    return at_ < text_.size() && text_[at_] == c;
  }

  bool take(std::string_view sign) {
    skip_spaces();
    if (!problem_.empty() || !text_.substr(at_).starts_with(sign)) return false;
    at_ += sign.size();
    return true;
  }

  void skip_spaces() {
    while (at_ < text_.size() && is_space(text_[at_])) ++at_;
  }

  void fail(std::string_view expected) { fail_with(fmt::format("expected {}", expected)); }

  void fail_with(std::string_view what) {
    if (problem_.empty())
      problem_ = fmt::format("column {}: {}{}", at_ + 1, what,
                             at_ == text_.size() ? ", and it ends here" : "");
    at_ = text_.size();  // nothing more is read
  }

  std::string_view text_;
  std::size_t at_ = 0;
  int depth_ = 0;
  std::string problem_;
};

Result<Selector> Selector::parse(std::string_view text) { return SelectorParser(text).parse(); }

bool Selector::matches(const Node& node, const Labels& labels) {
  const auto part_matches = [&](const Node& part) { return matches(part, labels); };
  switch (node.op) {
    case Op::kAll:
      return true;
    case Op::kNot:
      return !matches(node.children.front(), labels);
    case Op::kAnd:
      return std::all_of(node.children.begin(), node.children.end(), part_matches);
    case Op::kOr:
      return std::any_of(node.children.begin(), node.children.end(), part_matches);
    default:
      break;
  }
  const auto label = labels.find(node.label);
  if (label == labels.end()) return node.op == Op::kNotEqual || node.op == Op::kNotIn;
  return matches_value(node, label->second);
}

bool Selector::matches_value(const Node& node, const std::string& value) {
  const auto listed = [&] {
    return std::binary_search(node.values.begin(), node.values.end(), value);
  };
  switch (node.op) {
    case Op::kHas:
      return true;
    case Op::kEqual:
      return value == node.values.front();
    case Op::kNotEqual:
      return value != node.values.front();
    case Op::kIn:
      return listed();
    case Op::kNotIn:
      return !listed();
    case Op::kContains:
      return value.find(node.values.front()) != std::string::npos;
    case Op::kStartsWith:
      return value.starts_with(node.values.front());
    case Op::kEndsWith:
      return value.ends_with(node.values.front());
    default:
      return false;
  }
}

std::string Selector::to_string() const {
  std::string out;
  print(root_, Op::kAll, out);
  return out;
}

// `around`: what the node stands in.
void Selector::print(const Node& node, Op around, std::string& out) {
  switch (node.op) {
    case Op::kAll:
      out += "all()";
      return;
    case Op::kHas:
      out.append("has(").append(node.label).append(")");
      return;
    case Op::kNot:
      out += '!';
      return print(node.children.front(), Op::kNot, out);
    default:
      break;
  }
  const bool joined = node.op == Op::kAnd || node.op == Op::kOr;
  // `!a == "b"` means the same as with parentheses, and reads as something else.
  const bool grouped = around == Op::kNot || (node.op == Op::kOr && around == Op::kAnd);
  if (grouped) out += '(';
  if (!joined) print_comparison(node, out);
  for (const Node& part : node.children) {
    if (&part != &node.children.front()) out += node.op == Op::kAnd ? " && " : " || ";
    print(part, node.op, out);
  }
  if (grouped) out += ')';
}

void Selector::print_comparison(const Node& node, std::string& out) {
  constexpr std::array<std::pair<Op, std::string_view>, 7> kWords{
      {{Op::kEqual, " == "},
       {Op::kNotEqual, " != "},
       {Op::kIn, " in "},
       {Op::kNotIn, " not in "},
       {Op::kContains, " contains "},
       {Op::kStartsWith, " starts with "},
       {Op::kEndsWith, " ends with "}}};
  out += node.label;
  for (const auto& [op, word] : kWords)
    if (op == node.op) out += word;
  const bool set = node.op == Op::kIn || node.op == Op::kNotIn;
  if (set) out += '{';
  for (const std::string& value : node.values) {
    if (&value != &node.values.front()) out += ", ";
    append_quoted(out, value);
  }
  if (set) out += '}';
}

}  // namespace mesh
