#include "engine/urgency.h"

#include <algorithm>

namespace recpile {
namespace {

// A day is as good as for ever, and adding it to a time cannot overflow.
constexpr int64_t kLongestMicroseconds = 86'400'000'000;

}  // namespace

Result<Urgency> UrgencyOf(const InferRequest& request, const EngineOptions& options, Clock::time_point now) {
  if (request.timeout_microseconds < 0) {
    return Status::InvalidArgument("timeout: got " + std::to_string(request.timeout_microseconds) +
                                   " microseconds; use 1 or more, or 0 for the default");
  }
  Urgency urgency;
  urgency.since = now;
  const int64_t timeout =
      request.timeout_microseconds > 0 ? request.timeout_microseconds : options.default_timeout_microseconds;
  if (timeout > 0) {
    const Clock::time_point arrived = request.arrived == Clock::time_point() ? now : request.arrived;
    urgency.timeout = std::chrono::microseconds(std::min(timeout, kLongestMicroseconds));
    urgency.deadline = arrived + urgency.timeout;
  }
  const auto levels = static_cast<uint64_t>(options.priority_levels);
  const uint64_t usual =
      options.default_priority_level > 0 ? static_cast<uint64_t>(options.default_priority_level) : (levels + 1) / 2;
  const bool known = request.priority >= 1 && request.priority <= levels;
  urgency.level = static_cast<size_t>((known ? request.priority : usual) - 1);
  return urgency;
}

}  // namespace recpile
