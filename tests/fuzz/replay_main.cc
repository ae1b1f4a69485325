// Runs a fuzzer's function without libFuzzer: over every file of its corpus, every prefix of the
// small ones, and mutations of them. Deterministic: a failure is the same in the next run. What was
// being run is printed when it crashes or takes too long.
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

constexpr int kMutationsOfEach = 400;
constexpr int kMostMutations = 6000;
constexpr std::size_t kPrefixesBelow = 2048;
constexpr std::size_t kMaxSize = 65536;

std::string current;  // read by the signal handler

extern "C" void report(int signal) {
  constexpr std::string_view kText = "\nthe input was:\n";
  (void)!::write(STDERR_FILENO, kText.data(), kText.size());
  (void)!::write(STDERR_FILENO, current.data(), current.size());
  (void)!::write(STDERR_FILENO, "\n", 1);
  (void)std::signal(signal, SIG_DFL);
  (void)std::raise(signal);
}

void run(std::string input) {
  current = std::move(input);
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(current.data()), current.size());
}

class Mutator {
 public:
  explicit Mutator(const std::vector<std::string>& corpus) : corpus_(corpus) {}

  std::string mutate(std::string input) {
    for (std::size_t i = 0, steps = 1 + below(4); i < steps; ++i) step(input);
    if (input.size() > kMaxSize) input.resize(kMaxSize);
    return input;
  }

  std::size_t below(std::size_t limit) {
    return limit == 0 ? 0 : std::uniform_int_distribution<std::size_t>(0, limit - 1)(random_);
  }

 private:
  // One small change of the kinds that find bugs: bits, bytes, lengths, order, parts of others.
  void step(std::string& input) {
    const std::size_t at = below(input.size() + 1);
    const std::size_t length = below(std::min<std::size_t>(input.size() - at, 32) + 1);
    switch (below(7)) {
      case 0:
        if (at < input.size()) input[at] = static_cast<char>(input[at] ^ (1 << below(8)));
        break;
      case 1:
        if (at < input.size()) input[at] = static_cast<char>(below(256));
        break;
      case 2:
        input.insert(at, 1 + below(8), static_cast<char>(below(256)));
        break;
      case 3:
        input.erase(at, length);
        break;
      case 4:
        input.insert(at, input.substr(at, length));
        break;
      case 5: {
        const std::string& other = corpus_[below(corpus_.size())];
        const std::size_t from = below(other.size() + 1);
        input.insert(at, other, from, below(64));
        break;
      }
      default: {
        constexpr std::string_view kPieces[] = {std::string_view("\0", 1),
                                                "\xff\xff\xff\xff",
                                                "\x80",
                                                "\xf0\x9f\x8c\x90",
                                                "\n",
                                                "\r\n",
                                                "\t",
                                                "\"",
                                                "'",
                                                "\\",
                                                "\\u0000",
                                                "{",
                                                "}",
                                                "[",
                                                "]",
                                                ": ",
                                                ", ",
                                                "- ",
                                                "#",
                                                "&a ",
                                                "*a",
                                                "---\n",
                                                "...\n",
                                                "!!",
                                                "%",
                                                "=",
                                                "/",
                                                "-1",
                                                "0",
                                                "4294967296",
                                                "18446744073709551616"};
        input.insert(at, kPieces[below(std::size(kPieces))]);
      }
    }
  }

  const std::vector<std::string>& corpus_;
  std::mt19937_64 random_{20261122};
};

std::vector<std::string> read_corpus(const std::filesystem::path& directory) {
  std::vector<std::filesystem::path> paths;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error))
    paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> corpus;
  for (const auto& path : paths) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    corpus.push_back(text.str());
  }
  return corpus;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> corpus =
      argc == 2 ? read_corpus(argv[1]) : std::vector<std::string>();
  if (corpus.empty()) {
    std::fprintf(stderr, "usage: %s CORPUS (a directory that is not empty)\n", argv[0]);
    return 2;
  }
  for (const int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTERM})
    (void)std::signal(signal, report);

  int runs = 0;
  for (const std::string& input : corpus) {
    for (std::size_t size = 0; size <= std::min(input.size(), kPrefixesBelow); ++size, ++runs)
      run(input.substr(0, size));
    run(input);
  }
  Mutator mutator(corpus);
  const int mutations =
      std::min(kMostMutations, kMutationsOfEach * static_cast<int>(corpus.size()));
  for (int i = 0; i < mutations; ++i, ++runs)
    run(mutator.mutate(corpus[static_cast<std::size_t>(i) % corpus.size()]));
  std::printf("%d inputs, made of %zu\n", runs, corpus.size());
  return 0;
}
