// How much longer than foreseen requests wait, as far as past ones tell.
#pragma once

#include "coalesce/run_cost.h"

namespace recpile {

// The mean of what requests waited, as a multiple of what was foreseen for them, and twice its mean deviation on top:
// most of those that are accepted should be in time, not half of them. TCP judges in this way how long an answer may
// take (RFC 6298). Not thread-safe.
class WaitFactor {
 public:
  // Of a request that waits no longer.
  void Learn(Clock::duration waited, Clock::duration foreseen, Clock::time_point now);

  // 1 to 4. What is beyond 1 halves every second in which nothing is learned: requests that are refused for it teach
  // nothing.
  double At(Clock::time_point now) const;

 private:
  double mean_ = 1;
  double deviation_ = 0;
  Clock::time_point last_ = {};
};

}  // namespace recpile
