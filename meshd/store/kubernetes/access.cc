#include "meshd/store/kubernetes/access.h"

#include <fcntl.h>
#include <sodium.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <system_error>

#include "mesh/ip.h"
#include "mesh/unique_fd.h"
#include "meshd/store/document.h"
#include "meshd/store/utf8.h"

namespace mesh {
namespace {

constexpr std::size_t kMaxFileBytes = std::size_t{1} << 20;
constexpr std::size_t kMaxTokenBytes = std::size_t{1} << 16;

Result<std::string> read_small_file(const std::filesystem::path& path) {
  const std::string shown = printable(path.string(), 1024);
  // Not blocking: a FIFO must be an error, not a thread that hangs.
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  std::string text;
  std::array<char, 16384> buffer{};
  while (fd) {
    const ssize_t count = ::read(fd.get(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) break;
    if (count == 0) return text;
    text.append(buffer.data(), static_cast<std::size_t>(count));
    if (text.size() > kMaxFileBytes)
      return make_error(ErrorCode::kInvalid, "{}: larger than {} bytes: not what belongs here",
                        shown, kMaxFileBytes);
  }
  const int error = errno;
  const ErrorCode code = error == ENOENT   ? ErrorCode::kNotFound
                         : error == EACCES ? ErrorCode::kPermission
                                           : ErrorCode::kIo;
  return Error{code,
               fmt::format("{}: cannot be read: {}", shown, std::generic_category().message(error)),
               error};
}

// ---- kubeconfig ----

using Kind = DocumentNode::Kind;

class KubeconfigReader {
 public:
  KubeconfigReader(std::string_view place, const std::filesystem::path& directory)
      : place_(place), directory_(directory) {}

  Result<KubernetesAccess> read(const DocumentNode& root) {
    const std::string context_name = text(root, "current-context");
    if (context_name.empty())
      return error(root, "has no current-context: choose one with `kubectl config use-context`");
    const DocumentNode* context = named(root, "contexts", context_name, "context");
    if (context == nullptr) return missing(root, "contexts", context_name);
    const std::string cluster_name = text(*context, "cluster");
    const DocumentNode* cluster = named(root, "clusters", cluster_name, "cluster");
    if (cluster == nullptr) return missing(root, "clusters", cluster_name);
    access_.source = fmt::format("{}, context {}", place_, printable(context_name, 64));
    if (auto done = read_cluster(*cluster); !done) return done.error();

    const std::string user_name = text(*context, "user");
    const DocumentNode* user = named(root, "users", user_name, "user");
    if (user == nullptr) return missing(root, "users", user_name);
    if (auto done = read_user(*user); !done) return done.error();
    return std::move(access_);
  }

 private:
  template <class... Args>
  Error error(const DocumentNode& node, fmt::format_string<Args...> format, Args&&... args) const {
    const std::string message = fmt::format(format, std::forward<Args>(args)...);
    if (node.line == 0) return make_error(ErrorCode::kInvalid, "{}: {}", place_, message);
    return make_error(ErrorCode::kInvalid, "{}:{}:{}: {}", place_, node.line, node.column, message);
  }
  Error missing(const DocumentNode& root, std::string_view list, std::string_view name) const {
    return error(root, "{} has no entry named '{}', which the current context needs", list,
                 printable(name, 64));
  }

  static const DocumentNode* find(const DocumentNode& map, std::string_view key) {
    const auto found = std::find_if(map.children.begin(), map.children.end(),
                                    [&](const DocumentNode& member) { return member.key == key; });
    return map.kind != Kind::kMap || found == map.children.end() ? nullptr : &*found;
  }
  static std::string text(const DocumentNode& map, std::string_view key) {
    const DocumentNode* value = find(map, key);
    return value != nullptr && value->kind == Kind::kScalar ? value->text : "";
  }
  // `lists: [{name: NAME, member: {…}}]`
  static const DocumentNode* named(const DocumentNode& root, std::string_view list,
                                   std::string_view name, std::string_view member) {
    const DocumentNode* entries = find(root, list);
    if (entries == nullptr || entries->kind != Kind::kList) return nullptr;
    for (const DocumentNode& entry : entries->children)
      if (text(entry, "name") == name) return find(entry, member);
    return nullptr;
  }

  std::filesystem::path path(const std::string& text) const {
    return text.empty() ? std::filesystem::path() : directory_ / text;
  }

  // `key` names a file, `key`-data holds the same inline and counts first.
  Result<PemSource> pem(const DocumentNode& map, const std::string& key) const {
    PemSource source{path(text(map, key)), ""};
    const DocumentNode* inlined = find(map, key + "-data");
    if (inlined == nullptr || inlined->text.empty()) return source;
    source.data.resize(inlined->text.size());
    std::size_t size = 0;
    if (::sodium_base642bin(reinterpret_cast<unsigned char*>(source.data.data()),
                            source.data.size(), inlined->text.data(), inlined->text.size(), " \r\n",
                            &size, nullptr, sodium_base64_VARIANT_ORIGINAL) != 0 ||
        size == 0)
      return error(*inlined,
                   "{}-data is not base64: write the PEM text in base64, or name a file in "
                   "{}",
                   key, key);
    source.data.resize(size);
    return source;
  }

  Result<void> read_cluster(const DocumentNode& cluster) {
    access_.server = text(cluster, "server");
    while (access_.server.ends_with('/')) access_.server.pop_back();
    const bool https = access_.server.starts_with("https://");
    if (!https && !access_.server.starts_with("http://"))
      return error(cluster, "the cluster's server must be a URL such as https://192.0.2.1:6443");
    if (access_.server.find('@') != std::string::npos ||
        printable(access_.server, 1024) != access_.server)
      return error(cluster, "the cluster's server must be a plain URL, without a user in it");
    if (text(cluster, "insecure-skip-tls-verify") == "true")
      return error(cluster,
                   "insecure-skip-tls-verify: whoever stands between could exchange every node's "
                   "key: give certificate-authority instead");
    if (!text(cluster, "proxy-url").empty())
      return error(cluster,
                   "proxy-url is not read: set https_proxy in meshd's environment instead");
    access_.server_name = text(cluster, "tls-server-name");
    auto authority = pem(cluster, "certificate-authority");
    if (!authority) return authority.error();
    access_.authority = std::move(*authority);
    return {};
  }

  Result<void> read_user(const DocumentNode& user) {
    for (const std::string_view plugin : {"exec", "auth-provider"})
      if (const DocumentNode* found = find(user, plugin))
        return error(
            *found,
            "the user's {} would run another program for each token, which meshd does not: "
            "use a client certificate, token or tokenFile, such as a service account's",
            plugin);
    if (find(user, "username") != nullptr)
      return error(user,
                   "user name and password are not taken by Kubernetes any more: use a client "
                   "certificate, token or tokenFile");
    auto certificate = pem(user, "client-certificate");
    if (!certificate) return certificate.error();
    auto key = pem(user, "client-key");
    if (!key) return key.error();
    if (certificate->empty() != key->empty())
      return error(user, "client-certificate and client-key go together: give both or neither");
    access_.certificate = std::move(*certificate);
    access_.key = std::move(*key);
    access_.token = text(user, "token");
    access_.token_file = path(text(user, "tokenFile"));
    const bool with_token = !access_.token.empty() || !access_.token_file.empty();
    if (with_token && !is_safe_for_tokens(access_.server))
      return error(user, "the token would go in clear to {}: use https://", access_.server);
    return {};
  }

  static bool is_safe_for_tokens(std::string_view server) {
    if (server.starts_with("https://")) return true;
    std::string_view host = server.substr(std::string_view("http://").size());
    host = host.substr(0, host.find('/'));
    if (host.starts_with('[')) {
      host = host.substr(1, host.find(']') - 1);
    } else {
      host = host.substr(0, host.find(':'));
    }
    const auto address = IpAddress::parse(host);
    return address && address->is_loopback();
  }

  std::string_view place_;
  const std::filesystem::path& directory_;
  KubernetesAccess access_;
};

}  // namespace

Result<KubernetesAccess> parse_kubeconfig(std::string_view text, std::string_view place,
                                          const std::filesystem::path& directory) {
  const auto root = parse_yaml_document(text, place);
  if (!root) return root.error();
  if (root->kind != Kind::kMap)
    return make_error(ErrorCode::kInvalid,
                      "{}: not a kubeconfig: it must be a map with clusters, "
                      "users, contexts and current-context",
                      place);
  return KubeconfigReader(place, directory).read(*root);
}

Result<KubernetesAccess> load_kubeconfig(const std::filesystem::path& path) {
  const auto text = read_small_file(path);
  if (!text) return text.error();
  return parse_kubeconfig(*text, printable(path.string(), 1024), path.parent_path());
}

Result<KubernetesAccess> in_cluster_access(const std::filesystem::path& directory) {
  const char* host = std::getenv("KUBERNETES_SERVICE_HOST");
  const char* port = std::getenv("KUBERNETES_SERVICE_PORT");
  if (host == nullptr || *host == '\0' || port == nullptr || *port == '\0')
    return make_error(ErrorCode::kInvalid,
                      "store.kubernetes.kubeconfig is not given, and this is no pod "
                      "(KUBERNETES_SERVICE_HOST and _PORT are not set): name a kubeconfig");
  KubernetesAccess access;
  const bool ipv6 = std::string_view(host).find(':') != std::string_view::npos;
  access.server = fmt::format("https://{}:{}", ipv6 ? fmt::format("[{}]", host) : host, port);
  access.authority.file = directory / "ca.crt";
  access.token_file = directory / "token";
  access.source = fmt::format("the service account in {}", directory.string());
  return access;
}

Result<std::string> current_token(const KubernetesAccess& access) {
  std::string token = access.token;
  if (!access.token_file.empty()) {
    auto text = read_small_file(access.token_file);
    if (!text) return text.error();
    token = std::move(*text);
    while (!token.empty() && (token.back() == '\n' || token.back() == '\r' || token.back() == ' '))
      token.pop_back();
  }
  // What becomes a line of the request's head must not be able to become two.
  const bool plain =
      std::all_of(token.begin(), token.end(), [](char c) { return c > ' ' && c < 0x7f; });
  if (token.size() > kMaxTokenBytes || !plain || (token.empty() && !access.token_file.empty()))
    return make_error(
        ErrorCode::kInvalid, "{}: holds no token: it must be one line of text",
        access.token_file.empty() ? access.source : printable(access.token_file.string(), 1024));
  return token;
}

}  // namespace mesh
