#include "meshd/daemon/traffic_keeper.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace mesh {
namespace {

const std::string kPlace = "traffic";

}  // namespace

TrafficKeeper::TrafficKeeper(TrafficPort port, Traffic& traffic, Problems& problems)
    : port_(std::move(port)), problems_(problems) {
  std::string& damage = port_.damage;
  if (port_.found) {
    auto earlier = Traffic::parse(*port_.found);
    if (earlier) {
      traffic = std::move(*earlier);
    } else {
      damage = earlier.error().message;
    }
    port_.found.reset();
  }
  if (!damage.empty())
    problems_.note(
        kPlace, fmt::format("{}: the counts of traffic begin with what the kernel holds", damage));
}

void TrafficKeeper::keep(Traffic& traffic, MonotonicTime now, bool at_once) {
  if (!port_.save) return;
  if (const std::string problem = port_.save_problem(); !problem.empty())
    problems_.note(kPlace, fmt::format("{}: the counts of traffic will not survive this process: "
                                       "mend it (see keys.directory)",
                                       problem));
  else if (port_.damage.empty())
    problems_.clear(kPlace);
  if (!due_) due_ = now + kPause;
  if (traffic.meters_went() && !std::exchange(soon_, true)) due_ = std::min(*due_, now + kSettle);
  if (now < *due_ && !at_once) return;
  traffic.written();
  soon_ = false;
  due_ = now + kPause;
  port_.damage.clear();
  port_.save(traffic.format());
}

}  // namespace mesh
