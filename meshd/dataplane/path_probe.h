// IcmpPathProbe: PathProbe by ICMP and ICMPv6 echo over raw sockets, with path MTU discovery in
// probe mode: "don't fragment" set, and the path MTU that the kernel knows ignored.
//
// One thread, in the network namespace it was opened in. One system call a probe and an answer; no
// memory per probe. Answers are known by a number that this process draws at random and repeats in
// each probe, so that nobody who does not see the probes can answer them. What routers refuse, and
// what this host itself refuses as larger than the link, comes through the sockets' error queues.
// A probe that is refused also tells the kernel the path's MTU, which WireGuard's own packets then
// heed.
//
// Sources: ip(7), ipv6(7), raw(7); RFC 792, RFC 4443.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <span>

#include "mesh/path_probe.h"
#include "mesh/result.h"
#include "mesh/unique_fd.h"

namespace mesh {

class IcmpPathProbe final : public PathProbe {
 public:
  // kPermission when CAP_NET_RAW is missing. A kernel without one of the families probes the other.
  static Result<std::unique_ptr<PathProbe>> open();

  void set_mark(std::uint32_t mark) override;
  void send(const Probe& probe) override;
  int fd() const override { return epoll_.get(); }
  std::vector<ProbeNews> receive() override;

 private:
  // What makes a probe ours.
  struct Signature {
    std::uint16_t identifier = 0;
    std::array<std::uint8_t, 8> cookie{};
  };

  IcmpPathProbe(UniqueFd ipv4, UniqueFd ipv6, UniqueFd epoll);
  struct Refusal {
    ProbeNews news;
    bool ours = false;   // a probe of this process, by its number
    bool local = false;  // refused by this host, before it was sent: of the last probe
  };
  int socket_of(Family family) const { return family == Family::kIpv4 ? ipv4_.get() : ipv6_.get(); }
  bool is_ours(std::span<const std::uint8_t> icmp) const;
  bool refused_here(const Probe& probe);
  std::optional<Refusal> next_refusal(Family family);
  void read_refusals(Family family, std::vector<ProbeNews>& news);
  void read_answers(Family family, std::vector<ProbeNews>& news);

  UniqueFd ipv4_;
  UniqueFd ipv6_;
  UniqueFd epoll_;
  Signature signature_;
  std::vector<std::uint8_t> packet_;  // the probe being sent
  std::vector<ProbeNews> news_;       // found while sending
};

}  // namespace mesh
