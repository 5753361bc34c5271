#include "serving/request_meter.h"

#include <numeric>

namespace recpile::serving {
namespace {

FailureReason ReasonOf(StatusCode code) {
  switch (code) {
    case StatusCode::kUnavailable:
      return FailureReason::kRejected;
    case StatusCode::kCanceled:
      return FailureReason::kCanceled;
    case StatusCode::kInternal:
      return FailureReason::kBackend;
    default:
      return FailureReason::kOther;
  }
}

// From 50 us to 10 s, a little more than two bounds an octave where answers usually fall.
const prometheus::Histogram::BucketBoundaries kBounds = {50,     100,     200,     300,       500,       750,    1'000,
                                                         1'500,  2'000,   3'000,   5'000,     7'500,     10'000, 20'000,
                                                         50'000, 100'000, 250'000, 1'000'000, 10'000'000};

}  // namespace

std::string_view FailureReasonName(FailureReason reason) {
  switch (reason) {
    case FailureReason::kRejected:
      return "REJECTED";
    case FailureReason::kCanceled:
      return "CANCELED";
    case FailureReason::kBackend:
      return "BACKEND";
    case FailureReason::kOther:
      break;
  }
  return "OTHER";
}

RequestMeter::RequestMeter() : durations_us_(kBounds) {}

void RequestMeter::Answered(StatusCode code, std::chrono::nanoseconds elapsed) {
  const auto ns = static_cast<uint64_t>(elapsed.count());
  if (code == StatusCode::kOk) {
    ++successes_;
    success_ns_ += ns;
    durations_us_.Observe(static_cast<double>(ns) / 1000);
  } else {
    ++failures_[static_cast<size_t>(ReasonOf(code))];
    failure_ns_ += ns;
  }
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  last_ms_ = static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
}

uint64_t RequestMeter::failures() const {
  return std::accumulate(failures_.begin(), failures_.end(), uint64_t{0},
                         [](uint64_t sum, const std::atomic<uint64_t>& one) { return sum + one; });
}

}  // namespace recpile::serving
