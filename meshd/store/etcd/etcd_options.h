// EtcdOptions: which etcd, as whom, under which prefix, and how patient. A value; any thread.
// Holds no secret: it names the files that do; they are read whenever a connection is made, so that
// a renewed certificate or password counts without a restart.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "mesh/clock.h"
#include "mesh/result.h"

namespace mesh {

struct EtcdOptions {
  std::vector<std::string> endpoints;  // "http://host:port" or "https://host:port"; checked before
  std::string prefix = "/meshd";
  std::filesystem::path ca_file;  // "": the system's authorities
  std::filesystem::path cert_file;
  std::filesystem::path key_file;
  std::string username;  // "": none
  std::filesystem::path password_file;

  // --- patience; together they say within 10 s that a server is out, hung or killed ---
  Duration call_timeout = std::chrono::seconds(3);
  // Of the round through all endpoints when a connection broke, before the store is out.
  Duration failover_patience = std::chrono::milliseconds(1500);
  // HTTP/2 pings on an idle connection. etcd takes one every 5 s (--grpc-keepalive-min-time) for an
  // attack when they come faster.
  Duration ping_interval = std::chrono::milliseconds(5200);
  Duration ping_timeout = std::chrono::milliseconds(2500);
  // Between attempts to reach a store that is out, and to write what could not be written: doubled
  // from the first to the cap, less a random part.
  Duration retry_first = std::chrono::milliseconds(50);
  Duration retry_cap = std::chrono::seconds(3);

  // Of reading everything; and while the store is still said to be in sync, because a watch could
  // not go on where it ended.
  Duration read_total = std::chrono::seconds(60);
  Duration read_again_total = std::chrono::seconds(5);
  // Behind `etcd grpc-proxy`, which answers pings and takes watches when etcd is gone, etcd itself
  // is asked when nothing came from it for this long, less a random quarter, and must answer in
  // time. EtcdProbe.
  Duration probe_after = std::chrono::seconds(4);
  Duration probe_timeout = std::chrono::seconds(2);

  // --- signs of life ---
  std::chrono::seconds lease_ttl{60};  // kept alive three times as often
  // A node without one is marked as silent after this long, spread over as much again and 10 ms for
  // each node, so that one of many observers does it, not all.
  Duration silence_settle = std::chrono::seconds(5);

  int page = 500;  // records of one answer
};

// That the files can be read and make sense; connects to nothing. The error is one line with the
// configuration's key and the remedy.
Result<void> check_etcd_files(const EtcdOptions& options);

}  // namespace mesh
