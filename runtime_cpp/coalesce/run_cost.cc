#include "coalesce/run_cost.h"

#include <algorithm>
#include <cmath>

namespace recpile {
namespace {

// What a run still counts after the next one: the last twenty or so make the line.
constexpr double kKept = 0.95;
constexpr double kSeedWeight = 0.05;
constexpr double kHalfLifeNs = 1e9;
// Keeps sums of times far from overflow.
constexpr double kLongestNs = 3.6e12;

Clock::duration Nanoseconds(double ns) {
  return std::chrono::duration_cast<Clock::duration>(
      std::chrono::nanoseconds(static_cast<int64_t>(std::min(ns, kLongestNs))));
}

}  // namespace

Clock::duration RunCost::Of(int64_t rows) const { return Nanoseconds(fixed_ns + row_ns * static_cast<double>(rows)); }

int64_t RunCost::RowsWithin(Clock::duration time, int64_t most) const {
  if (Of(most) <= time) return most;
  const double left = std::chrono::duration<double, std::nano>(time).count() - fixed_ns;
  // Not all fit, so if a candidate costs nothing it is the fixed part that is too much.
  return left <= 0 || row_ns <= 0 ? 0 : std::min(most, static_cast<int64_t>(left / row_ns));
}

Clock::duration RunCost::OfAll(int64_t rows, int64_t most) const {
  const double runs = std::ceil(static_cast<double>(rows) / static_cast<double>(most));
  return Nanoseconds(fixed_ns * runs + row_ns * static_cast<double>(rows));
}

void RunCostModel::Sums::Add(int64_t rows, Clock::duration took, double kept, double weight) {
  const double more_x = static_cast<double>(rows);
  const auto more_y = static_cast<double>(std::chrono::duration_cast<std::chrono::nanoseconds>(took).count());
  n = n * kept + weight;
  x = x * kept + weight * more_x;
  y = y * kept + weight * more_y;
  xx = xx * kept + weight * more_x * more_x;
  xy = xy * kept + weight * more_x * more_y;
}

void RunCostModel::Seed(int64_t rows, Clock::duration took, Clock::time_point now) {
  seeds_.Add(rows, took, 1, kSeedWeight);
  last_ = now;
}

void RunCostModel::Measured(int64_t rows, Clock::duration took, Clock::time_point now) {
  runs_.Add(rows, took, kKept, 1);
  last_ = now;
}

RunCost RunCostModel::At(Clock::time_point now) const {
  const Sums all = {seeds_.n + runs_.n, seeds_.x + runs_.x, seeds_.y + runs_.y, seeds_.xx + runs_.xx,
                    seeds_.xy + runs_.xy};
  if (all.n == 0) return {};
  // Least squares. Runs of one size leave the slope open: it is then the fixed part that explains them.
  const double spread = all.n * all.xx - all.x * all.x;
  double row = spread > 1e-6 * all.n * all.xx ? (all.n * all.xy - all.x * all.y) / spread : 0;
  row = std::clamp(row, 0.0, all.y / all.x);
  const double fixed = std::max(0.0, (all.y - row * all.x) / all.n);
  const double age = std::chrono::duration<double, std::nano>(std::max(now - last_, Clock::duration::zero())).count();
  const double left = std::exp2(-age / kHalfLifeNs);
  return {fixed * left, row * left};
}

}  // namespace recpile
