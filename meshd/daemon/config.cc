#include "meshd/daemon/config.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "meshd/daemon/config_reader.h"
#include "meshd/daemon/config_schema.h"
#include "meshd/daemon/yaml_tree.h"

namespace mesh {
namespace {

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  FileDescriptor(FileDescriptor&&) = delete;
  FileDescriptor& operator=(FileDescriptor&&) = delete;
  ~FileDescriptor() {
    if (fd_ >= 0) (void)close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

Error file_error(int error, std::string_view remedy) {
  return {ErrorCode::kIo,
          fmt::format("cannot be read: {} ({})", std::generic_category().message(error), remedy),
          error};
}

// Bounded whatever the file says of its size: /proc files say 0, and a file can grow meanwhile.
Result<std::string> read_all(int fd) {
  std::string text;
  std::array<char, 16384> buffer{};
  while (true) {
    const ssize_t count = read(fd, buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return file_error(errno, "check the file system");
    if (count == 0) return text;
    text.append(buffer.data(), static_cast<std::size_t>(count));
    if (text.size() > kMaxConfigBytes)
      return make_error(ErrorCode::kInvalid,
                        "is larger than {} bytes: this is no configuration of meshd",
                        kMaxConfigBytes);
  }
}

Result<std::string> read_config_file(const std::filesystem::path& path) {
  // Not blocking: a FIFO without a writer must be an error, not a daemon that hangs at its start.
  const FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0)
    return file_error(errno, errno == ENOENT
                                 ? "write one, an empty file is all defaults, or name another with "
                                   "--config"
                                 : "check its owner and mode");
  struct stat status {};
  if (fstat(file.get(), &status) != 0) return file_error(errno, "check the file system");
  if (S_ISDIR(status.st_mode))
    return make_error(ErrorCode::kInvalid, "is a directory: name the file in it with --config");
  if (S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode))
    return make_error(ErrorCode::kInvalid,
                      "is a pipe or a socket, which a reload could not read again: name a file");
  return read_all(file.get());
}

std::string this_host_name() {
  // meshd sets no variable
  if (const char* given = getenv("MESHD_NODE_NAME"); given != nullptr && *given != '\0')
    return given;
  std::array<char, 256> buffer{};  // HOST_NAME_MAX is 64
  if (gethostname(buffer.data(), buffer.size() - 1) != 0) return "";
  return buffer.data();
}

}  // namespace

std::string describe(const ConfigProblem& problem) {
  std::string text = problem.file;
  if (problem.line > 0) text += fmt::format(":{}:{}", problem.line, problem.column);
  if (!problem.key.empty()) text += ": " + problem.key;
  return text + ": " + problem.message;
}

ConfigResult parse_config(std::string_view text, std::string_view file_name,
                          std::string_view host_name) {
  auto parsed = parse_yaml(text);
  if (auto* problem = std::get_if<YamlProblem>(&parsed))
    return ConfigProblems{{std::string(file_name), problem->place.line, problem->place.column, "",
                           std::move(problem->message)}};
  ConfigReader reader(std::get<YamlTree>(parsed), file_name);
  Config config;
  read_config(reader, host_name, config);
  if (auto problems = reader.take_problems(); !problems.empty()) return problems;
  return config;
}

ConfigResult load_config(const std::filesystem::path& path) {
  const auto text = read_config_file(path);
  if (!text) return ConfigProblems{{path.string(), 0, 0, "", text.error().message}};
  ConfigResult loaded = parse_config(*text, path.string(), this_host_name());
  if (auto* config = std::get_if<Config>(&loaded)) config->api_server = find_api_server(*config);
  return loaded;
}

}  // namespace mesh
