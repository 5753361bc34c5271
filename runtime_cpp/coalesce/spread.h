// Whether candidates that could run as one batch are answered sooner as several, on instances that idle.
#pragma once

#include <cstdint>

#include "coalesce/batch_sizes.h"
#include "coalesce/run_cost.h"

namespace recpile {

// Into how many runs, as equal as can be, `rows` candidates are best cut when `idle` instances have nothing else to do:
// 1 to `idle`, and 1 unless that saves a fifth of the time and more than waking the others costs. Of numbers that are
// nearly as good the smallest, for every run costs its fixed part. `sizes`: those at which batches run, padded.
int64_t Spread(int64_t rows, int64_t idle, const RunCost& cost, const BatchSizes& sizes);

}  // namespace recpile
