#include "kubernetes/api_server.h"

#include <curl/curl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sodium.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <thread>

namespace mesh::testing {
namespace {

using nlohmann::json;

const IpAddress kLoopback = IpAddress::v4(0x7f000001);

std::pair<int, std::string> shell(const std::string& command) {
  FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) throw std::runtime_error("popen");
  std::string output;
  std::array<char, 4096> buffer{};
  while (const std::size_t count = std::fread(buffer.data(), 1, buffer.size(), pipe))
    output.append(buffer.data(), count);
  const int status = ::pclose(pipe);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128, output};
}

void must_run(const std::string& command) {
  const auto [code, output] = shell(command);
  if (code != 0) throw std::runtime_error(command + ": " + output);
}

std::size_t append(char* data, std::size_t size, std::size_t count, void* text) {
  static_cast<std::string*>(text)->append(data, size * count);
  return size * count;
}

struct Curl {
  Curl() : easy(curl_easy_init()) {}
  ~Curl() { curl_easy_cleanup(easy); }
  Curl(const Curl&) = delete;
  Curl& operator=(const Curl&) = delete;
  CURL* easy;
};

ApiAnswer http(const std::string& method, const std::string& url, const std::string& body,
               const std::vector<std::string>& headers, const std::string& authority) {
  thread_local Curl curl;  // keeps its connection
  curl_easy_reset(curl.easy);
  curl_slist* list = nullptr;
  for (const std::string& header : headers) list = curl_slist_append(list, header.c_str());
  ApiAnswer answer;
  curl_easy_setopt(curl.easy, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl.easy, CURLOPT_CUSTOMREQUEST, method.c_str());
  curl_easy_setopt(curl.easy, CURLOPT_HTTPHEADER, list);
  curl_easy_setopt(curl.easy, CURLOPT_PROXY, "");
  curl_easy_setopt(curl.easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl.easy, CURLOPT_TIMEOUT, 60L);
  if (!authority.empty()) curl_easy_setopt(curl.easy, CURLOPT_CAINFO, authority.c_str());
  if (!body.empty()) curl_easy_setopt(curl.easy, CURLOPT_POSTFIELDS, body.c_str());
  curl_easy_setopt(curl.easy, CURLOPT_WRITEFUNCTION, append);
  curl_easy_setopt(curl.easy, CURLOPT_WRITEDATA, &answer.text);
  if (curl_easy_perform(curl.easy) == CURLE_OK)
    curl_easy_getinfo(curl.easy, CURLINFO_RESPONSE_CODE, &answer.status);
  curl_slist_free_all(list);
  return answer;
}

std::string base64(const std::string& text) {
  std::string out(sodium_base64_encoded_len(text.size(), sodium_base64_VARIANT_ORIGINAL), '\0');
  sodium_bin2base64(out.data(), out.size(), reinterpret_cast<const unsigned char*>(text.data()),
                    text.size(), sodium_base64_VARIANT_ORIGINAL);
  out.pop_back();  // the final NUL
  return out;
}

}  // namespace

std::string ApiServer::binary() { return lab::kube_apiserver(); }

ApiServer::ApiServer(std::vector<ApiUser> users) : users_(std::move(users)) {
  lab::make_api_credentials(directory_.path().string(), kLoopback);
  start_etcd();
  start();
}

std::string ApiServer::client_certificate(const std::string& name, const std::string& group) {
  const std::string file = fmt::format("client-{}", ++files_);
  const std::string in = "cd " + directory_.path().string() + " && ";
  must_run(fmt::format(
      "{}openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout {}.key -out "
      "{}.csr -subj '/O={}/CN={}'",
      in, file, file, group, name));
  must_run(
      fmt::format("{}openssl x509 -req -in {}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days "
                  "30 -out {}.crt",
                  in, file, file));
  must_run(fmt::format("{}cat {}.crt {}.key >{}.pem", in, file, file, file));
  return (directory_ / (file + ".pem")).string();
}

void ApiServer::start_etcd() {
  etcd_.reset();
  const std::string client = fmt::format("http://127.0.0.1:{}", etcd_port_);
  const std::string peer = fmt::format("http://127.0.0.1:{}", etcd_peer_port_);
  etcd_.emplace(
      std::vector<std::string>{"etcd", "--data-dir", (directory_ / "etcd").string(),
                               "--listen-client-urls", client, "--advertise-client-urls", client,
                               "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                               "--initial-cluster", "default=" + peer, "--unsafe-no-fsync"},
      (directory_ / "etcd.log").string());
}

void ApiServer::start() {
  server_.reset();
  const std::string log = (directory_ / "apiserver.log").string();
  server_.emplace(lab::api_server_command(directory_.path().string(), {kLoopback, port_},
                                          fmt::format("http://127.0.0.1:{}", etcd_port_), users_),
                  log);
  for (int i = 0; i < 600; ++i) {
    if (request("GET", "/readyz").status == 200) return;
    if (!server_->running()) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  throw std::runtime_error("kube-apiserver did not start: " + shell("tail -n 20 " + log).second);
}

void ApiServer::restart(std::vector<ApiUser> users) {
  users_ = std::move(users);
  server_->kill();
  start();
}

std::string ApiServer::url() const { return fmt::format("https://127.0.0.1:{}", port_); }

std::string ApiServer::kubeconfig(const std::string& token, std::uint16_t port) {
  return lab::write_kubeconfig(directory_.path().string(), fmt::format("kubeconfig-{}", ++files_),
                               {kLoopback, port == 0 ? port_ : port}, token);
}

ApiAnswer ApiServer::request(const std::string& method, const std::string& path, const json& body,
                             const std::string& token) const {
  const std::string type = method == "PATCH" ? "application/merge-patch+json" : "application/json";
  return http(method, url() + path, body.is_null() ? "" : body.dump(),
              {"Content-Type: " + type, "Authorization: Bearer " + token}, authority());
}

json ApiServer::must(const std::string& method, const std::string& path, const json& body) const {
  const ApiAnswer answer = request(method, path, body);
  if (answer.status < 200 || answer.status >= 300) {
    ADD_FAILURE() << method << " " << path << ": " << answer.status << " " << answer.text;
    return json::object();
  }
  return answer.body();
}

std::pair<int, std::string> ApiServer::kubectl(const std::string& arguments) {
  return shell(fmt::format("HOME={} KUBECONFIG={} kubectl {}", directory_.path().string(),
                           kubeconfig(kAdmin), arguments));
}

json ApiServer::etcd_request(const std::string& path, const json& body) const {
  const ApiAnswer answer =
      http("POST", fmt::format("http://127.0.0.1:{}{}", etcd_port_, path), body.dump(), {}, "");
  if (answer.status != 200) throw std::runtime_error("etcd " + path + ": " + answer.text);
  return answer.body();
}

void ApiServer::compact() const {
  const json found = etcd_request("/v3/kv/range", {{"key", base64("/")}});
  etcd_request("/v3/kv/compaction",
               {{"revision", found["header"]["revision"]}, {"physical", true}});
}

void ApiServer::remove_all(const std::string& prefix) const {
  std::string end = prefix;
  ++end.back();
  etcd_request("/v3/kv/deleterange", {{"key", base64(prefix)}, {"range_end", base64(end)}});
}

}  // namespace mesh::testing
