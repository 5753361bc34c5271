// What an engine counts; EngineStats is its reading.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <vector>

#include "coalesce/run_cost.h"
#include "recpile/engine.h"

namespace recpile {

// A Histogram that threads add to. No bucket waits for another: a reading may lack what is added meanwhile.
class HistogramCounter {
 public:
  void Add(int64_t value) { AddTo(value, value); }
  // In microseconds.
  void Add(Clock::duration took) {
    const int64_t ns = std::chrono::duration_cast<std::chrono::nanoseconds>(took).count();
    AddTo((ns + 999) / 1000, ns);
  }

  // `scale`: what one of the values added to the sum is worth.
  Histogram Read(double scale = 1) const;
  Histogram ReadMicroseconds() const { return Read(1e-3); }

 private:
  // 2^23: 8 seconds, or as many rows as nobody has memory for.
  static constexpr size_t kBuckets = 25;

  void AddTo(int64_t bucket_value, int64_t value);

  std::array<std::atomic<uint64_t>, kBuckets> counts_ = {};
  std::atomic<int64_t> sum_ = 0;
};

// Written by Submit and by all instances, read by stats(): no counter waits for another.
struct Counters {
  using Count = std::atomic<uint64_t>;

  struct Table {
    Count lookups = 0;
    Count out_of_range = 0;
  };

  Counters(size_t stages, size_t tables) : stages(stages), tables(tables) {}

  Count requests_ok = 0;
  Count requests_partial = 0;
  Count requests_failed = 0;
  Count requests_rejected = 0;
  Count requests_shed = 0;
  Count requests_expired = 0;
  Count requests_canceled = 0;
  Count samples = 0;
  Count batches = 0;
  Count queue_ns = 0;
  Count compute_ns = 0;
  Count padded_rows = 0;
  HistogramCounter queue;
  HistogramCounter coalesce;
  HistogramCounter infer;
  HistogramCounter split;
  HistogramCounter batch_size;
  std::vector<HistogramCounter> stages;
  std::vector<Table> tables;
};

// `model`: whose counters they are.
EngineStats ReadStats(const Counters& counters, const ModelInfo& model);

}  // namespace recpile
