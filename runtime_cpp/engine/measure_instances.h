// What instances of a model can do side by side.
#pragma once

#include <cstdint>

#include "artifact/manifest.h"
#include "coalesce/batch_sizes.h"
#include "execute/executor.h"

namespace recpile {

// Candidates a second that `instances` threads compute side by side, each the same batch again and again for a few
// milliseconds; 0 if a run fails. The best of a few trials, for other work of the machine only ever makes it less.
double MeasureInstances(int instances, const Manifest& manifest, const Executor& executor, const BatchSizes& sizes,
                        int64_t max_batch_size);

}  // namespace recpile
