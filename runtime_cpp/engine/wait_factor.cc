#include "engine/wait_factor.h"

#include <algorithm>
#include <chrono>
#include <cmath>

namespace recpile {
namespace {

// What a wait counts for all before it.
constexpr double kLearned = 0.1;
constexpr double kDeviations = 2;
// One stall of the machine should not be remembered for long.
constexpr double kMost = 4;
constexpr std::chrono::duration<double> kHalfLife(1);
// Shorter ones say little of the load.
constexpr std::chrono::microseconds kWorthLearning(1000);

}  // namespace

void WaitFactor::Learn(Clock::duration waited, Clock::duration foreseen, Clock::time_point now) {
  if (foreseen < kWorthLearning) return;
  const double ratio = std::chrono::duration<double>(waited) / std::chrono::duration<double>(foreseen);
  const double beyond = std::min(ratio, kMost) - mean_;
  mean_ += kLearned * beyond;
  deviation_ += kLearned * (std::abs(beyond) - deviation_);
  last_ = now;
}

double WaitFactor::At(Clock::time_point now) const {
  const double beyond = std::clamp(mean_ + kDeviations * deviation_, 1.0, kMost) - 1;
  return 1 + beyond * std::exp2(-std::max(0.0, std::chrono::duration<double>(now - last_) / kHalfLife));
}

}  // namespace recpile
