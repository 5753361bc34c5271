// How the requests for one model went, over all protocols: from the last byte read to the answer.
#pragma once

#include <prometheus/histogram.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <string_view>

#include "recpile/status.h"

namespace recpile::serving {

// Why a request failed, in Triton's words.
enum class FailureReason { kRejected, kCanceled, kBackend, kOther };
inline constexpr std::array kFailureReasons = {FailureReason::kRejected, FailureReason::kCanceled,
                                               FailureReason::kBackend, FailureReason::kOther};
std::string_view FailureReasonName(FailureReason reason);  // "REJECTED", ...

// Thread-safe.
class RequestMeter {
 public:
  RequestMeter();

  void Answered(StatusCode code, std::chrono::nanoseconds elapsed);
  uint64_t successes() const { return successes_; }
  uint64_t success_ns() const { return success_ns_; }
  uint64_t failures(FailureReason reason) const { return failures_[static_cast<size_t>(reason)]; }
  uint64_t failures() const;
  uint64_t failure_ns() const { return failure_ns_; }
  // Of successful requests, in microseconds.
  const prometheus::Histogram& durations_us() const { return durations_us_; }
  // Unix time in milliseconds; 0: no request yet.
  uint64_t last_ms() const { return last_ms_; }

 private:
  std::atomic<uint64_t> successes_ = 0;
  std::atomic<uint64_t> success_ns_ = 0;
  std::atomic<uint64_t> failure_ns_ = 0;
  std::atomic<uint64_t> last_ms_ = 0;
  std::array<std::atomic<uint64_t>, kFailureReasons.size()> failures_ = {};
  prometheus::Histogram durations_us_;
};

}  // namespace recpile::serving
