// When a request came, which may be long before this process found the time to read it.
#pragma once

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>

namespace recpile::http {

// Since when nothing more has come over this TCP connection: the request that was just read from it is at least as old.
// By the kernel's clock, whose ticks are up to 10 ms long; so what may be no more than a tick counts as none.
inline std::chrono::steady_clock::time_point LastArrival([[maybe_unused]] int socket) {
  const auto now = std::chrono::steady_clock::now();
#ifdef __linux__
  constexpr std::chrono::milliseconds kTick(10), kNothing(0);
  tcp_info info = {};
  socklen_t size = sizeof(info);
  if (getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) == 0) {
    return now - std::max(std::chrono::milliseconds(info.tcpi_last_data_recv) - kTick, kNothing);
  }
#endif
  return now;
}

}  // namespace recpile::http
