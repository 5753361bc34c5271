// What an engine counts; EngineStats is its reading.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace recpile {

// Written by Submit and by all instances, read by stats(): no counter waits for another.
struct Counters {
  using Count = std::atomic<uint64_t>;
  Count requests_ok = 0;
  Count requests_failed = 0;
  Count requests_rejected = 0;
  Count requests_expired = 0;
  Count samples = 0;
  Count batches = 0;
  Count queue_ns = 0;
  Count compute_ns = 0;
};

}  // namespace recpile
