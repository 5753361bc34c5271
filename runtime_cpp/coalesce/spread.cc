#include "coalesce/spread.h"

#include <algorithm>
#include <chrono>

namespace recpile {
namespace {

// To wake an instance, to cut a request and to put its answers together.
constexpr std::chrono::microseconds kWorthWaking(100);

}  // namespace

int64_t Spread(int64_t rows, int64_t idle, const RunCost& cost, const BatchSizes& sizes) {
  const auto time = [&](int64_t runs) { return cost.Of(sizes.AtLeast((rows + runs - 1) / runs)); };
  const int64_t most = std::min(idle, rows);
  int64_t best = 1;
  for (int64_t runs = 2; runs <= most; ++runs) {
    const Clock::duration saved = time(best) - time(runs);
    if (saved >= kWorthWaking && saved >= time(best) / 5) best = runs;
  }
  return best;
}

}  // namespace recpile
