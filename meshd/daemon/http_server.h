// HttpServer: answers HTTP on one listening socket with one handler.
//
// The sockets, threads and deadlines are ours, the protocol is cpp-httplib's: the library accepts
// without close-on-exec, hides errno, and lets a client that sends a byte now and then hold a
// thread for ever. A fixed number of threads accept by themselves, so the kernel's backlog is the
// only queue. One request a connection: no idle client holds a thread. Every read and every write
// has a deadline for the whole of it, and requests have a size.
// Thread rules: the handler is called on several threads at once. stop() from any thread but the
// handler's. Errors of a client never reach the caller.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "mesh/result.h"

namespace mesh {

struct HttpRequest {
  std::string method;  // HEAD arrives as GET
  std::string path;    // decoded, without the query
  std::string body;
};

struct HttpReply {
  int status = 200;
  std::string content_type;
  std::string body;
  std::string allow;  // the header of a 405
};

struct HttpLimits {
  int threads = 4;
  std::size_t request_bytes = std::size_t{64} << 10;  // line, headers and body together
  std::chrono::milliseconds read{5000};               // from accept to the whole request
  std::chrono::milliseconds write{10'000};            // of the whole answer
};

class HttpServer {
 public:
  using Handler = std::function<HttpReply(const HttpRequest&)>;
  // What to answer when the protocol itself fails (400, 413, 414…): a body for that status.
  using ErrorBody = std::function<HttpReply(int status)>;

  // `listener` listens, does not block, and outlives the server. kIo when no thread can be made.
  static Result<std::unique_ptr<HttpServer>> start(int listener, Handler handler,
                                                   ErrorBody error_body, const HttpLimits& limits);
  virtual ~HttpServer() = default;  // stops first
  // Cuts connections that are reading or writing and waits for handlers that run. Idempotent.
  virtual void stop() = 0;
};

}  // namespace mesh
