// Sends requests on a schedule that does not wait for answers, as users do.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "senders.h"

namespace recpile::benchmark {

struct Schedule {
  double rate = 100;  // requests a second
  double seconds = 3;
  // Sent and unanswered; what would be one more is dropped and counted, so that memory and time stay bounded.
  int64_t max_outstanding = 4096;
  double deadline_us = 0;  // from the moment a request was due; 0: none
  bool keep_samples = false;
  const std::atomic<bool>* stop = nullptr;  // becomes true: nothing more is sent
};

struct Sample {
  double due_seconds = 0;  // of the monotonic clock
  double latency_us = 0;
  bool ok = false;
};

struct Outcome {
  int64_t answered = 0;
  int64_t in_time = 0;  // of the answered ones, those within the deadline
  int64_t failed = 0;
  int64_t dropped = 0;
  double seconds = 0;              // from the first sending to the last answer
  double cpu_seconds = 0;          // of this process meanwhile
  std::vector<double> refusal_us;  // sorted, as the next; of the failed ones
  std::vector<double> latency_us;  // sorted; from the moment a request was due, so that delays of the sender count too
  std::vector<Sample> samples;     // in the order of answers, if kept
};

Outcome RunOpenLoop(const Schedule& schedule, Sender& sender);

// {"answered": ..., "p50_us": ..., ...}
std::string ToJson(const Outcome& outcome);

}  // namespace recpile::benchmark
