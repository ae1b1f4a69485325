// Client: asks the local meshd over its Unix socket.
//
// One connection a request. Blocks for at most about the timeout; answers are limited in size.
// Errors are one line that says what to do. One thread.
#pragma once

#include <chrono>
#include <string>

#include "mesh/result.h"

namespace mesh::ctl {

class Client {
 public:
  Client(std::string socket, std::chrono::milliseconds timeout)
      : socket_(std::move(socket)), timeout_(timeout) {}

  // The body of a 200; else the error, in the server's own words where it gave any. A path is
  // ready to be sent: see escape_path.
  Result<std::string> get(const std::string& path) const { return request("GET", path); }
  Result<std::string> put(const std::string& path, const std::string& json) const {
    return request("PUT", path, json);
  }
  // `body`: a JSON object of arguments, or nothing.
  Result<std::string> post(const std::string& path, const std::string& body = "") const {
    return request("POST", path, body);
  }
  Result<std::string> remove(const std::string& path) const { return request("DELETE", path); }

 private:
  Result<std::string> request(const std::string& method, const std::string& path,
                              const std::string& json = "") const;
  Result<void> probe() const;

  std::string socket_;
  std::chrono::milliseconds timeout_;
};

// One segment of a path, percent-encoded.
std::string escape_path(std::string_view segment);

}  // namespace mesh::ctl
