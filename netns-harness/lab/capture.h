// Capture: counts every packet between the nodes of a lab, by ordered pair and class.
//
// A thread reads one packet socket in the underlay's namespace: each packet is seen once, where it
// enters the bridge, so sender and receiver are known by port and MAC address, whatever the packet
// says of itself. A verdict is only given after a sentinel frame sent from every node came through
// behind all else, and throws LabError if the kernel dropped one packet of the capture: "zero"
// never means that nothing was looking. Any thread may ask.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "lab/classify.h"
#include "lab/lab.h"
#include "mesh/unique_fd.h"

namespace mesh::lab {

// Packets in one direction.
struct Count {
  std::uint64_t wireguard = 0;
  std::uint64_t plaintext = 0;
  std::uint64_t host = 0;  // between the nodes' own addresses, not WireGuard
  std::uint64_t other = 0;
  std::uint64_t plaintext_ipv6 = 0;  // of the above
  std::uint64_t host_ipv6 = 0;
};

struct Verdict {
  Count ab;
  Count ba;
  std::vector<std::string> plaintext_seen;  // the first few, both directions
  [[nodiscard]] bool encrypted_both_ways() const {
    return ab.wireguard > 0 && ba.wireguard > 0 && ab.plaintext == 0 && ba.plaintext == 0;
  }
  [[nodiscard]] std::uint64_t plaintext() const { return ab.plaintext + ba.plaintext; }
  [[nodiscard]] std::string to_string() const;
};

// One plaintext packet, for those who must know when.
struct PlaintextSeen {
  Clock::time_point at;
  std::string from;
  std::string to;
  std::string what;
};

class Capture {
 public:
  // Captures from now on. `lab` must outlive it and get no new nodes.
  explicit Capture(Lab& lab, std::set<std::uint16_t> listen_ports = {51820});
  ~Capture();
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  [[nodiscard]] Verdict between(const std::string& a, const std::string& b);
  // Between a node and the client outside.
  [[nodiscard]] Verdict with_outside(const std::string& node);
  // Plaintext packets between any two nodes, everything sent until now included.
  [[nodiscard]] std::uint64_t plaintext_among(const std::set<std::string>& nodes) {
    return among(nodes, &Count::plaintext);
  }
  // The same of one family; and of packets between the nodes themselves, with the first few of a
  // pair's.
  [[nodiscard]] std::uint64_t plaintext_of(const std::set<std::string>& nodes, Family family) {
    const std::uint64_t ipv6 = among(nodes, &Count::plaintext_ipv6);
    return family == Family::kIpv6 ? ipv6 : among(nodes, &Count::plaintext) - ipv6;
  }
  [[nodiscard]] std::uint64_t host_of(const std::set<std::string>& nodes, Family family) {
    const std::uint64_t ipv6 = among(nodes, &Count::host_ipv6);
    return family == Family::kIpv6 ? ipv6 : among(nodes, &Count::host) - ipv6;
  }
  [[nodiscard]] std::vector<std::string> host_seen(const std::string& a, const std::string& b);
  // The plaintext packets between nodes since the last call, as they were seen; beyond 100,000 they
  // are only counted. Does not wait for what is under way.
  [[nodiscard]] std::vector<PlaintextSeen> take_plaintext();
  void reset();  // forgets what was counted, everything sent until now included

 private:
  using Mac = std::array<std::uint8_t, 6>;
  struct Tally {
    Count count;
    std::vector<std::string> plaintext_seen;
    std::vector<std::string> host_seen;
  };

  void learn_port(const std::string& name, const std::string& port,
                  const NetworkNamespace& network);
  void work();
  [[nodiscard]] std::uint64_t among(const std::set<std::string>& nodes, std::uint64_t Count::*kind);
  void take(std::span<const std::uint8_t> frame, int port);
  // Waits until everything the nodes sent before this call has been counted.
  void flush();
  void send_sentinels(std::uint64_t nonce);
  void check_nothing_dropped();

  Lab& lab_;
  UniqueFd socket_;
  UniqueFd stop_;
  std::map<int, std::string> ports_;  // interface index in the underlay → node
  std::map<Mac, std::string> macs_;   // of the nodes' eth0
  std::vector<std::pair<std::string, UniqueFd>> senders_;  // a packet socket on each node's eth0

  std::mutex mutex_;
  Classifier classifier_;
  std::map<std::pair<std::string, std::string>, Tally> tallies_;
  std::vector<PlaintextSeen> plaintext_;
  std::map<std::string, std::map<std::uint64_t, unsigned>> sentinels_;  // node → nonce → seen
  std::uint64_t dropped_ = 0;
  std::uint64_t next_nonce_ = 1;
  std::mutex flushing_;
  std::thread thread_;
};

}  // namespace mesh::lab
