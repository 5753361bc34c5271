// How long a run takes, as far as past runs tell.
#pragma once

#include <chrono>
#include <cstdint>

namespace recpile {

using Clock = std::chrono::steady_clock;

// A straight line: so much for every run, and so much for each of its candidates.
struct RunCost {
  double fixed_ns = 0;
  double row_ns = 0;

  // Of one run of `rows` candidates.
  Clock::duration Of(int64_t rows) const;
  // The most candidates, up to `most`, that one run can hold and take no longer than `time`.
  int64_t RowsWithin(Clock::duration time, int64_t most) const;
  // Of as many runs, one behind the other, as `rows` candidates need when a run holds `most`.
  Clock::duration OfAll(int64_t rows, int64_t most) const;
};

// Fits that line to the runs it is told of, recent ones first. Not thread-safe.
class RunCostModel {
 public:
  // A run while the engine warmed up. It never outweighs what is measured later, but is never forgotten either: a load
  // of requests of one size alone would not tell what a candidate costs.
  void Seed(int64_t rows, Clock::duration took, Clock::time_point now);

  void Measured(int64_t rows, Clock::duration took, Clock::time_point now);

  // Nothing is known before the first run. What is known fades when nothing runs: it halves every second, so that an
  // estimate that refuses every request cannot outlive its reason.
  RunCost At(Clock::time_point now) const;

 private:
  // Weighted sums over runs of x (candidates) and y (nanoseconds).
  struct Sums {
    double n = 0, x = 0, y = 0, xx = 0, xy = 0;

    void Add(int64_t rows, Clock::duration took, double kept, double weight);
  };

  Sums seeds_, runs_;
  Clock::time_point last_ = {};
};

}  // namespace recpile
