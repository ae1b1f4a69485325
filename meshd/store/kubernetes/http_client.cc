#include "meshd/store/kubernetes/http_client.h"

#include <curl/curl.h>
#include <fmt/format.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "mesh/unique_fd.h"
#include "meshd/store/utf8.h"

namespace mesh {
namespace {

constexpr long kConnectMilliseconds = 4000;
constexpr std::size_t kMaxErrorBody = std::size_t{1} << 16;

long milliseconds_of(Duration duration) {
  return static_cast<long>(std::chrono::ceil<std::chrono::milliseconds>(duration).count());
}

void initialize_curl() {
  static const CURLcode done = curl_global_init(CURL_GLOBAL_DEFAULT);  // once, thread-safely
  (void)done;
}

bool iequal_prefix(std::string_view text, std::string_view lower) {
  if (text.size() < lower.size()) return false;
  return std::equal(lower.begin(), lower.end(), text.begin(), [](char a, char b) {
    return a == (b >= 'A' && b <= 'Z' ? static_cast<char>(b - 'A' + 'a') : b);
  });
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.back() <= ' ')) text.remove_suffix(1);
  while (!text.empty() && (text.front() <= ' ')) text.remove_prefix(1);
  return text;
}

}  // namespace

std::string url_encoded(std::string_view text) {
  std::string result;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_' || c == '.' || c == '~';
    if (plain)
      result += c;
    else
      result += fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return result;
}

struct HttpClient::Handles {
  Handles() : wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) { open(); }
  ~Handles() { (void)curl_multi_cleanup(multi); }
  Handles(const Handles&) = delete;
  Handles& operator=(const Handles&) = delete;
  Handles(Handles&&) = delete;
  Handles& operator=(Handles&&) = delete;

  void open() {
    initialize_curl();
    multi = curl_multi_init();
    if (multi != nullptr) (void)curl_multi_setopt(multi, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
  }
  void reopen() {
    (void)curl_multi_cleanup(multi);
    open();
  }

  CURLM* multi = nullptr;
  UniqueFd wake;
};

struct HttpClient::Transfer {
  ~Transfer() {
    curl_easy_cleanup(easy);
    curl_slist_free_all(headers);
    curl_slist_free_all(connect_to);
  }
  Transfer() = default;
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;
  Transfer(Transfer&&) = delete;
  Transfer& operator=(Transfer&&) = delete;

  template <class T>
  void set(CURLoption option, T value) {
    (void)curl_easy_setopt(easy, option, value);
  }
  void set_pem(CURLoption file, CURLoption blob, const PemSource& pem) {
    if (pem.data.empty()) {
      if (!pem.file.empty()) set(file, pem.file.c_str());
      return;
    }
    curl_blob copied{const_cast<char*>(pem.data.data()), pem.data.size(), CURL_BLOB_COPY};
    set(blob, &copied);
  }
  void add_header(const std::string& line) { headers = curl_slist_append(headers, line.c_str()); }

  void set_request(const KubernetesAccess& access);
  void set_credentials(const KubernetesAccess& access, const std::string& token);
  void set_limits();

  std::size_t take(std::string_view piece);
  void take_header(std::string_view line);
  Result<ApiReply> result(CURLcode code);

  static std::size_t on_write(char* data, std::size_t size, std::size_t count, void* self) {
    return static_cast<Transfer*>(self)->take({data, size * count});
  }
  static std::size_t on_header(char* data, std::size_t size, std::size_t count, void* self) {
    static_cast<Transfer*>(self)->take_header({data, size * count});
    return size * count;
  }

  CURL* easy = nullptr;
  curl_slist* headers = nullptr;
  curl_slist* connect_to = nullptr;
  ApiRequest request;
  std::string server;
  std::string source;
  Callbacks callbacks;
  bool* called_back = nullptr;
  ApiReply answer;
  bool too_large = false;
  bool refused = false;  // by on_data
  std::array<char, CURL_ERROR_SIZE> cause{};
};

void HttpClient::Transfer::set_request(const KubernetesAccess& access) {
  const std::string url = access.server + request.path;
  set(CURLOPT_URL, url.c_str());
  set(CURLOPT_CUSTOMREQUEST, request.method.c_str());
  if (!request.body.empty()) {
    set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
    set(CURLOPT_POSTFIELDS, request.body.c_str());
    add_header("Content-Type: " + request.content_type);
    add_header("Expect:");  // no round trip before the body
  }
  add_header("Accept: application/json");
  set(CURLOPT_USERAGENT, "meshd");
  set(CURLOPT_FOLLOWLOCATION, 0L);
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_2TLS));
  // Not CURLOPT_PIPEWAIT: a transfer that waits for another's connection was seen never to start,
  // and libcurl applies no timeout to it meanwhile.
}

void HttpClient::Transfer::set_credentials(const KubernetesAccess& access,
                                           const std::string& token) {
  if (!access.authority.empty()) {
    set_pem(CURLOPT_CAINFO, CURLOPT_CAINFO_BLOB, access.authority);
    set(CURLOPT_CAPATH, static_cast<char*>(nullptr));  // that authority alone
  }
  set_pem(CURLOPT_SSLCERT, CURLOPT_SSLCERT_BLOB, access.certificate);
  set_pem(CURLOPT_SSLKEY, CURLOPT_SSLKEY_BLOB, access.key);
  if (!token.empty()) add_header("Authorization: Bearer " + token);
  if (access.server_name.empty()) return;
  // The certificate is checked against the name in the URL: that name, at the server's address.
  const std::size_t start = access.server.find("://") + 3;
  const std::string authority = access.server.substr(start, access.server.find('/', start) - start);
  const std::size_t colon = authority.rfind(':');
  const std::size_t bracket = authority.rfind(']');  // of an IPv6 address
  const bool with_port =
      colon != std::string::npos && (bracket == std::string::npos || colon > bracket);
  const std::string port = with_port ? authority.substr(colon + 1) : "443";
  const std::string host = with_port ? authority.substr(0, colon) : authority;
  connect_to = curl_slist_append(
      nullptr, fmt::format("{}:{}:{}:{}", access.server_name, port, host, port).c_str());
  set(CURLOPT_CONNECT_TO, connect_to);
  const std::string url = fmt::format("https://{}:{}{}{}", access.server_name, port,
                                      access.server.substr(start + authority.size()), request.path);
  set(CURLOPT_URL, url.c_str());
}

void HttpClient::Transfer::set_limits() {
  set(CURLOPT_CONNECTTIMEOUT_MS, kConnectMilliseconds);
  if (request.total > Duration::zero()) set(CURLOPT_TIMEOUT_MS, milliseconds_of(request.total));
  if (request.silence > Duration::zero()) {
    set(CURLOPT_LOW_SPEED_LIMIT, 1L);
    set(CURLOPT_LOW_SPEED_TIME, (milliseconds_of(request.silence) + 999) / 1000);
  }
  // A machine that vanished is noticed below TCP's patience, also while a watch is silent.
  set(CURLOPT_TCP_KEEPALIVE, 1L);
  set(CURLOPT_TCP_KEEPIDLE, 5L);
  set(CURLOPT_TCP_KEEPINTVL, 2L);
}

std::size_t HttpClient::Transfer::take(std::string_view piece) {
  if (answer.status == 200 && callbacks.on_data) {
    *called_back = true;
    refused = !callbacks.on_data(piece);
    return refused ? CURL_WRITEFUNC_ERROR : piece.size();
  }
  // What explains a failure is short; the rest of it is not kept.
  const bool failed = answer.status >= 300;
  const std::size_t limit = failed ? kMaxErrorBody : request.max_answer;
  too_large = answer.body.size() + piece.size() > limit;
  if (too_large && !failed) return CURL_WRITEFUNC_ERROR;
  if (!too_large) answer.body.append(piece);
  return piece.size();
}

void HttpClient::Transfer::take_header(std::string_view line) {
  constexpr std::string_view kRetryAfter = "retry-after:";
  constexpr std::string_view kLocation = "location:";
  if (iequal_prefix(line, kRetryAfter)) {
    const std::string_view value = trimmed(line.substr(kRetryAfter.size()));
    int seconds = 0;
    const auto read = std::from_chars(value.data(), value.data() + value.size(), seconds);
    if (read.ec == std::errc() && seconds >= 0) answer.retry_after = std::chrono::seconds(seconds);
  } else if (iequal_prefix(line, kLocation)) {
    answer.location = printable(trimmed(line.substr(kLocation.size())), 200);
  } else if (trimmed(line).empty()) {  // the end of the head
    (void)curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &answer.status);
    if (answer.status != 200 || !callbacks.on_success) return;
    *called_back = true;
    callbacks.on_success();
  }
}

Result<ApiReply> HttpClient::Transfer::result(CURLcode code) {
  (void)curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &answer.status);
  if (code == CURLE_OK) return std::move(answer);
  if (too_large)
    return make_error(ErrorCode::kInvalid, "{}: the answer is larger than {} bytes and is not read",
                      server, request.max_answer);
  const std::string why =
      printable(cause[0] != '\0' ? cause.data() : curl_easy_strerror(code), 200);
  switch (code) {
    case CURLE_PEER_FAILED_VERIFICATION:
      return make_error(ErrorCode::kPermission,
                        "{}: the server's certificate is not to be trusted: {}: give the authority "
                        "that signed it ({})",
                        server, why, source);
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
      return make_error(ErrorCode::kPermission, "{}: a certificate or key cannot be used: {} ({})",
                        server, why, source);
    case CURLE_OPERATION_TIMEDOUT:
      return make_error(ErrorCode::kTimeout, "{}: does not answer: {}", server, why);
    default:
      return make_error(ErrorCode::kUnavailable, "{}: {}", server, why);
  }
}

HttpClient::HttpClient() : handles_(std::make_unique<Handles>()) {}

HttpClient::~HttpClient() {
  for (auto& [id, transfer] : transfers_)
    (void)curl_multi_remove_handle(handles_->multi, transfer->easy);
  transfers_.clear();
}

HttpClient::Id HttpClient::start(const KubernetesAccess& access, const std::string& token,
                                 ApiRequest request, Callbacks callbacks) {
  auto transfer = std::make_unique<Transfer>();
  transfer->easy = curl_easy_init();
  transfer->request = std::move(request);
  transfer->server = access.server;
  transfer->source = access.source;
  transfer->callbacks = std::move(callbacks);
  transfer->called_back = &called_back_;
  const Id id = ++last_id_;
  Transfer& t = *transfer;
  t.set(CURLOPT_PRIVATE, reinterpret_cast<void*>(id));  // NOLINT(performance-no-int-to-ptr)
  t.set(CURLOPT_ERRORBUFFER, t.cause.data());
  t.set(CURLOPT_WRITEFUNCTION, &Transfer::on_write);
  t.set(CURLOPT_WRITEDATA, &t);
  t.set(CURLOPT_HEADERFUNCTION, &Transfer::on_header);
  t.set(CURLOPT_HEADERDATA, &t);
  t.set_request(access);
  t.set_credentials(access, token);
  t.set_limits();
  t.set(CURLOPT_HTTPHEADER, t.headers);
  (void)curl_multi_add_handle(handles_->multi, t.easy);
  transfers_.emplace(id, std::move(transfer));
  return id;
}

void HttpClient::cancel(Id id) {
  const auto found = transfers_.find(id);
  if (found == transfers_.end()) return;
  (void)curl_multi_remove_handle(handles_->multi, found->second->easy);
  transfers_.erase(found);
}

void HttpClient::reset() {
  while (!transfers_.empty()) cancel(transfers_.begin()->first);
  handles_->reopen();
}

void HttpClient::run(Duration timeout) {
  // What comes without waiting may change what the caller would wait for.
  if (transfer_data()) return;
  std::array<curl_waitfd, 1> extra{{{handles_->wake.get(), CURL_WAIT_POLLIN, 0}}};
  const long wait = std::clamp(milliseconds_of(timeout), 0L, 600'000L);
  (void)curl_multi_poll(handles_->multi, extra.data(), extra.size(), static_cast<int>(wait),
                        nullptr);
  std::uint64_t count = 0;
  (void)!::read(handles_->wake.get(), &count, sizeof count);
  (void)transfer_data();
}

bool HttpClient::transfer_data() {
  called_back_ = false;
  int running = 0;
  (void)curl_multi_perform(handles_->multi, &running);
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(handles_->multi, &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    char* tag = nullptr;
    (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &tag);
    finish(reinterpret_cast<Id>(tag), static_cast<int>(message->data.result));
  }
  return called_back_;
}

void HttpClient::finish(Id id, int code) {
  const auto found = transfers_.find(id);
  if (found == transfers_.end()) return;
  called_back_ = true;
  const std::unique_ptr<Transfer> transfer = std::move(found->second);
  transfers_.erase(found);
  (void)curl_multi_remove_handle(handles_->multi, transfer->easy);
  // on_data said itself why it refused.
  if (transfer->refused && static_cast<CURLcode>(code) == CURLE_WRITE_ERROR)
    return transfer->callbacks.on_done(std::move(transfer->answer));
  transfer->callbacks.on_done(transfer->result(static_cast<CURLcode>(code)));
}

void HttpClient::wake() {
  const std::uint64_t one = 1;
  (void)!::write(handles_->wake.get(), &one,
                 sizeof one);  // full already: it will wake all the same
}

}  // namespace mesh
