// How long whoever reads requests looks away when it has refused one for lack of time or room and nothing is left to
// do.
#pragma once

#include <algorithm>
#include <chrono>

namespace recpile::serving {

// To look at each request as it comes interrupts what computes, and runs all of the protocol out of cold caches;
// handled several at a time, refusals cost less. A small part of the refused request's timeout (0: it had none), for
// those that are accepted wait too, and are likely to have a similar one.
inline std::chrono::microseconds RestAfterRefusal(std::chrono::microseconds timeout) {
  constexpr std::chrono::microseconds kWithoutTimeout{1000};
  constexpr std::chrono::microseconds kMost{3000};
  constexpr int kShare = 32;
  return timeout.count() == 0 ? kWithoutTimeout : std::min(timeout / kShare, kMost);
}

}  // namespace recpile::serving
