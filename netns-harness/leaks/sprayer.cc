#include "leaks/sprayer.h"

#include <sys/socket.h>

#include <array>
#include <chrono>

#include "lab/error.h"

namespace mesh::lab {
namespace {

constexpr std::uint16_t kPort = 40'000;  // nobody listens there, and nothing exempts it

}  // namespace

Sprayer::Sprayer(std::vector<Stream> streams, unsigned per_second) : per_second_(per_second) {
  for (const Stream& stream : streams) {
    Source source;
    source.socket =
        stream.from->socket(to_af(stream.source.family()), SOCK_DGRAM | SOCK_NONBLOCK, 0);
    source.destination = SocketAddress(stream.destination, kPort);
    if (!stream.device.empty())
      check(::setsockopt(source.socket.get(), SOL_SOCKET, SO_BINDTODEVICE, stream.device.c_str(),
                         static_cast<socklen_t>(stream.device.size())),
            "bind to " + stream.device);
    const SocketAddress own(stream.source, 0);
    check(::bind(source.socket.get(), own.raw(), own.size()),
          "bind to " + stream.source.to_string());
    sources_.push_back(std::move(source));
  }
  thread_ = std::thread([this] { work(); });
}

Sprayer::~Sprayer() {
  ending_ = true;
  thread_.join();
}

bool Sprayer::wait_for_rounds(std::uint64_t rounds, milliseconds timeout) const {
  const std::uint64_t until = rounds_ + rounds;
  return wait_until([&] { return rounds_ >= until; }, timeout);
}

void Sprayer::work() {
  const std::array<char, 64> datagram{};
  while (!ending_) {
    for (const Source& source : sources_)
      (void)::sendto(source.socket.get(), datagram.data(), datagram.size(), 0,
                     source.destination.raw(), source.destination.size());
    ++rounds_;
    std::this_thread::sleep_for(std::chrono::microseconds(1'000'000 / per_second_));
  }
}

}  // namespace mesh::lab
