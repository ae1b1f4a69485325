// An underlay in memory behind the port PathProbe: every address has a way of some width, and
// answers, swallows or refuses. One thread.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "mesh/path_probe.h"

namespace mesh::test {

// What tests set, and what they look at; it outlives the probes made over it.
struct FakeUnderlay {
  std::map<IpAddress, std::uint32_t> carries;  // others: `width`
  std::uint32_t width = 1500;
  std::set<IpAddress> silent;
  bool routers_tell = false;
  std::uint32_t mark = 0;
  std::vector<Probe> sent;
  std::vector<ProbeNews> news;

  std::uint32_t of(const IpAddress& address) const {
    const auto found = carries.find(address);
    return found == carries.end() ? width : found->second;
  }
  std::size_t sent_to(const IpAddress& address) const {
    return static_cast<std::size_t>(
        std::count_if(sent.begin(), sent.end(), [&](const Probe& p) { return p.to == address; }));
  }
};

class FakePathProbe final : public PathProbe {
 public:
  explicit FakePathProbe(FakeUnderlay& underlay) : underlay_(underlay) {}

  void set_mark(std::uint32_t mark) override { underlay_.mark = mark; }
  void send(const Probe& probe) override {
    underlay_.sent.push_back(probe);
    const std::uint32_t carried = underlay_.of(probe.to);
    if (probe.size > carried) {
      if (underlay_.routers_tell)
        underlay_.news.push_back({ProbeNews::Kind::kRefused, probe.number, probe.to, 0, carried});
    } else if (!underlay_.silent.contains(probe.to)) {
      underlay_.news.push_back({ProbeNews::Kind::kAnswered, probe.number, probe.to, probe.size, 0});
    }
  }
  int fd() const override { return -1; }
  std::vector<ProbeNews> receive() override { return std::exchange(underlay_.news, {}); }

 private:
  FakeUnderlay& underlay_;
};

}  // namespace mesh::test
