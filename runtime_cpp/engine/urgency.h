// How soon a request is to be answered, and before which others.
#pragma once

#include "coalesce/choose_batch.h"
#include "recpile/engine.h"

namespace recpile {

struct Urgency {
  Clock::time_point since = {};
  Clock::time_point deadline = kNever;
  size_t level = 0;                      // 0 is the highest
  std::chrono::microseconds timeout{0};  // from its arrival to the deadline
};

// What the request asks for, or by default what the options say. InvalidArgument for a negative timeout.
Result<Urgency> UrgencyOf(const InferRequest& request, const EngineOptions& options, Clock::time_point now);

}  // namespace recpile
