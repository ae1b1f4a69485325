// Selectors: what they match, what is refused and where, and that printing loses nothing.
#include "core/selector.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <random>

namespace mesh {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

Selector parsed(std::string_view text) {
  auto selector = Selector::parse(text);
  EXPECT_TRUE(selector.has_value()) << text << ": " << selector.error().message;
  return selector ? *selector : Selector::all();
}

std::string error_of(std::string_view text) {
  const auto selector = Selector::parse(text);
  EXPECT_FALSE(selector.has_value()) << text << " is taken for " << selector->to_string();
  if (selector) return "";
  EXPECT_EQ(selector.error().code, ErrorCode::kInvalid);
  return selector.error().message;
}

struct Case {
  std::string_view selector;
  std::vector<Labels> matches;
  std::vector<Labels> others;
};

// The semantics of the language whose users this is for, as its documentation and tests have them.
const std::vector<Case> kCases = {
    {R"(a == "b")", {{{"a", "b"}}, {{"a", "b"}, {"c", "d"}}}, {{}, {{"a", "c"}}, {{"c", "b"}}}},
    {"a == 'b'", {{{"a", "b"}}}, {{}, {{"a", "B"}}}},
    {"a != 'b'", {{}, {{"a", "c"}}, {{"c", "b"}}}, {{{"a", "b"}}}},
    {"a in {'b', \"c\"}", {{{"a", "b"}}, {{"a", "c"}}}, {{}, {{"a", "d"}}}},
    {"a not in {'b', 'c'}", {{}, {{"a", "d"}}}, {{{"a", "b"}}, {{"a", "c"}}}},
    {"a in {}", {}, {{}, {{"a", ""}}}},
    {"a not in {}", {{}, {{"a", ""}}}, {}},
    {"has(a)", {{{"a", ""}}, {{"a", "x"}}}, {{}, {{"b", "a"}}}},
    {"!has(a)", {{}, {{"b", "a"}}}, {{{"a", ""}}}},
    {"a contains 'bc'", {{{"a", "abcd"}}, {{"a", "bc"}}}, {{}, {{"a", "bxc"}}}},
    {"a starts with 'bc'", {{{"a", "bcd"}}}, {{}, {{"a", "abc"}}, {{"a", "b"}}}},
    {"a ends with 'bc'", {{{"a", "abc"}}}, {{}, {{"a", "bcd"}}}},
    {"a contains ''", {{{"a", ""}}, {{"a", "x"}}}, {{}}},
    {"all()", {{}, {{"a", "b"}}}, {}},
    {"global()", {{}, {{"a", "b"}}}, {}},
    {"!all()", {}, {{}, {{"a", "b"}}}},
    {"!a == 'b'", {{}, {{"a", "c"}}}, {{{"a", "b"}}}},
    {"!!has(a)", {{{"a", ""}}}, {{}}},
    {"! ! !has(a)", {{}}, {{{"a", ""}}}},
    // && binds closer than ||.
    {"has(a) || has(b) && has(c)", {{{"a", ""}}, {{"b", ""}, {"c", ""}}}, {{{"b", ""}}}},
    {"(has(a) || has(b)) && has(c)", {{{"a", ""}, {"c", ""}}}, {{{"a", ""}}, {{"b", ""}}}},
    {"!has(a) && has(b)", {{{"b", ""}}}, {{}, {{"a", ""}, {"b", ""}}}},
    {"!(has(a) && has(b))", {{}, {{"b", ""}}}, {{{"a", ""}, {"b", ""}}}},
    // Quotes of the other kind, and whatever else a value may hold.
    {"a == '\"'", {{{"a", "\""}}}, {{{"a", "'"}}}},
    {"a == \"'\"", {{{"a", "'"}}}, {{{"a", "\""}}}},
    {"a == 'b || has(c)'", {{{"a", "b || has(c)"}}}, {{{"c", ""}}}},
    {"a == ' \\n'", {{{"a", " \\n"}}}, {{{"a", "\n"}}}},
    {"a == '\xE2\x82\xAC'", {{{"a", "\xE2\x82\xAC"}}}, {{}}},
    // Names of labels.
    {"kubernetes.io/os-name_1 == 'x'", {{{"kubernetes.io/os-name_1", "x"}}}, {{}}},
    {"has(a/b/c.d)", {{{"a/b/c.d", ""}}}, {{}}},
    {"1-2 == 'x'", {{{"1-2", "x"}}}, {{}}},
    // Words of the language are labels where a label stands.
    {"in in {'in'}", {{{"in", "in"}}}, {{}}},
    {"not not in {'x'}", {{}}, {{{"not", "x"}}}},
    {"contains contains 'contains'", {{{"contains", "contains"}}}, {{}}},
    {"has == 'x' && all != 'y'", {{{"has", "x"}}}, {{{"has", "x"}, {"all", "y"}}}},
    {"has(has)", {{{"has", ""}}}, {{}}},
    // Spaces.
    {"\ta==\"b\"&&c!='d'||!has( e )\n", {{{"a", "b"}}, {}}, {{{"e", ""}}}},
    {"a  not   in{'b'}", {{}}, {{{"a", "b"}}}},
    {"a notin {'b'}", {{}}, {{{"a", "b"}}}},
    {"a startswith 'b' || a endswith 'c'", {{{"a", "bx"}}, {{"a", "xc"}}}, {{{"a", "x"}}}},
    {"a starts  with'b'", {{{"a", "bx"}}}, {{}}},
};

TEST(Selector, MatchesWhatItsUsersKnow) {
  for (const Case& one : kCases) {
    const Selector selector = parsed(one.selector);
    for (const Labels& labels : one.matches)
      EXPECT_TRUE(selector.matches(labels))
          << one.selector << " " << ::testing::PrintToString(labels);
    for (const Labels& labels : one.others)
      EXPECT_FALSE(selector.matches(labels))
          << one.selector << " " << ::testing::PrintToString(labels);
    EXPECT_EQ(parsed(selector.to_string()), selector) << selector.to_string();
  }
}

TEST(Selector, PrintsOneTextForOneMeaning) {
  const std::vector<std::pair<std::string_view, std::string_view>> cases = {
      {" (all() )", "all()"},
      {"global()", "all()"},
      {"! (has( b)||! has(a ))", "!(has(b) || !has(a))"},
      {"!a=='b'", "!(a == \"b\")"},
      {"a startswith '\"'", "a starts with '\"'"},
      {"a in {'z','x', \"x\",'y'}", "a in {\"x\", \"y\", \"z\"}"},
      {"a notin{}", "a not in {}"},
      {"((has(a) && has(b)) && has(c)) || (has(d) || has(e))",
       "has(a) && has(b) && has(c) || has(d) || has(e)"},
      {"(has(a) || has(b)) && !!has(c)", "(has(a) || has(b)) && !!has(c)"}};
  for (const auto& [text, printed] : cases) EXPECT_EQ(parsed(text).to_string(), printed);
}

TEST(Selector, SaysWhereAndWhatWasExpected) {
  const std::vector<std::pair<std::string_view, std::string_view>> cases = {
      {"", "column 1: expected a label, has(), all(), global(), '!' or '(', and it ends here"},
      {"  ", "column 3: expected a label"},
      {"a",
       "column 2: expected ==, !=, in, not in, contains, starts with or ends with, and it "
       "ends here"},
      {"role = 'db'", "column 6: expected ==, !="},
      {"role == db", "column 9: expected a value in quotes"},
      {"role == 'db", "column 9: the quote that opens here is not closed"},
      {"'db' == role", "column 1: expected a label"},
      {"a == 'b' & has(c)", "column 10: expected &&, || or the end"},
      {"a == 'b' and has(c)", "column 10: expected &&, || or the end"},
      {"a == 'b' && ", "column 13: expected a label"},
      {"a == 'b' && %", "column 13: expected a label"},
      {"(a == 'b'", "column 10: expected ')'"},
      {"a == 'b')", "column 9: expected &&, || or the end"},
      {"()", "column 2: expected a label"},
      {"a in 'b'", "column 6: expected '{'"},
      {"a in {'b'", "column 10: expected ',' or '}'"},
      {"a in {'b',}", "column 11: expected a value in quotes"},
      {"a in {b}", "column 7: expected a value in quotes"},
      {"a not 'b'", "column 3: expected ==, !="},
      {"a starts 'b'", "column 3: expected ==, !="},
      {"has()", "column 5: expected a label"},
      {"has(a", "column 6: expected ')'"},
      {"all", "column 4: expected ==, !="},
      {"all(a)", "column 5: expected ')'"},
      {"any()", "column 1: expected has(), all() or global()"},
      {"a == 'b' || exists(c)", "column 13: expected has(), all() or global()"},
      {"!", "column 2: expected a label"},
      {"sm\xC3\xB8r == 'x'", "column 3: expected ==, !="}};
  for (const auto& [text, message] : cases)
    EXPECT_THAT(error_of(text), StartsWith(message)) << text;
}

TEST(Selector, DepthAndSizeAreBounded) {
  const std::string open(Selector::kMaxDepth - 1, '(');
  const std::string close(Selector::kMaxDepth - 1, ')');
  EXPECT_EQ(parsed(open + "all()" + close), Selector::all());
  EXPECT_THAT(error_of("(" + open + "all()" + close + ")"), HasSubstr("nested more than 64 deep"));
  EXPECT_THAT(error_of(std::string(kMaxSelectorBytes, '!')), HasSubstr("nested more than"));
  EXPECT_THAT(error_of(std::string(kMaxSelectorBytes + 1, ' ')), HasSubstr("longer than"));
  std::string longest = "has(a)";
  while (longest.size() + 10 <= kMaxSelectorBytes) longest += " || has(a)";
  EXPECT_TRUE(parsed(longest).matches({{"a", ""}}));
}

// ---- against a second, naive one ----

// An expression as a tree of closures, and a text that says the same with the spaces, quotes and
// parentheses that come to mind.
struct Made {
  std::string text;
  std::function<bool(const Labels&)> meaning;
};

class Maker {
 public:
  explicit Maker(unsigned seed) : random_(seed) {}

  Made make(int depth) {
    switch (depth == 0 ? below(8) : below(12)) {
      case 8: {
        const Made part = make(depth - 1);
        return {"!" + space() + "(" + part.text + ")",
                [part](const Labels& labels) { return !part.meaning(labels); }};
      }
      case 9:
      case 10: {
        const Made a = make(depth - 1);
        const Made b = make(depth - 1);
        return {"(" + a.text + ")" + space() + "&&" + space() + "(" + b.text + ")",
                [a, b](const Labels& labels) { return a.meaning(labels) && b.meaning(labels); }};
      }
      case 11: {
        const Made a = make(depth - 1);
        const Made b = make(depth - 1);
        return {a.text + " ||" + space() + b.text,
                [a, b](const Labels& labels) { return a.meaning(labels) || b.meaning(labels); }};
      }
      default:
        return leaf();
    }
  }

  Labels labels() {
    Labels labels;
    for (const char* name : {"a", "b", "c/d"})
      if (below(3) != 0) labels[name] = value();
    return labels;
  }

 private:
  using Compare = std::function<bool(const std::string*)>;

  std::size_t below(std::size_t limit) {
    return std::uniform_int_distribution<std::size_t>(0, limit - 1)(random_);
  }
  std::string space() { return std::string(below(3), ' '); }
  std::string value() {
    std::string text;
    for (std::size_t i = below(3); i > 0; --i) text += "xy'"[below(3)];
    return text;
  }
  static std::string quoted(const std::string& text) { return '"' + text + '"'; }

  Made leaf() {
    const std::string name = std::vector<std::string>{"a", "b", "c/d"}[below(3)];
    const std::string v = value();
    const auto with = [&](const std::string& text, Compare compare) {
      return Made{text, [name, compare](const Labels& labels) {
                    const auto found = labels.find(name);
                    return compare(found == labels.end() ? nullptr : &found->second);
                  }};
    };
    switch (below(8)) {
      case 0:
        return {"all()", [](const Labels&) { return true; }};
      case 1:
        return with("has(" + space() + name + ")",
                    [](const std::string* x) { return x != nullptr; });
      case 2:
        return with(name + "==" + space() + quoted(v),
                    [v](const std::string* x) { return x != nullptr && *x == v; });
      case 3:
        return with(name + space() + "!=" + quoted(v),
                    [v](const std::string* x) { return x == nullptr || *x != v; });
      case 4:
        return with(name + " contains" + space() + quoted(v), [v](const std::string* x) {
          return x != nullptr && x->find(v) != std::string::npos;
        });
      case 5:
        return with(name + " starts with " + quoted(v), [v](const std::string* x) {
          return x != nullptr && x->substr(0, v.size()) == v;
        });
      case 6: {
        const std::string w = value();
        return with(name + " in {" + quoted(v) + "," + space() + quoted(w) + "}",
                    [v, w](const std::string* x) { return x != nullptr && (*x == v || *x == w); });
      }
      default: {
        const std::string w = value();
        return with(name + " not in {" + quoted(v) + ", " + quoted(w) + "}",
                    [v, w](const std::string* x) { return x == nullptr || (*x != v && *x != w); });
      }
    }
  }

  std::mt19937 random_;
};

TEST(Selector, MeansTheSameAsANaiveEvaluatorAndAsItsOwnPrint) {
  for (unsigned seed = 0; seed < 3000; ++seed) {
    Maker maker(seed);
    const Made made = maker.make(4);
    const Selector selector = parsed(made.text);
    const Selector again = parsed(selector.to_string());
    ASSERT_EQ(again, selector) << made.text << "\n" << selector.to_string();
    ASSERT_EQ(again.to_string(), selector.to_string());
    for (int i = 0; i < 20; ++i) {
      const Labels labels = maker.labels();
      ASSERT_EQ(selector.matches(labels), made.meaning(labels)) << made.text << "\n"
                                                                << selector.to_string() << "\n"
                                                                << ::testing::PrintToString(labels);
    }
  }
}

}  // namespace
}  // namespace mesh
