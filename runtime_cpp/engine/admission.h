// Whether a request that comes now can be answered by its deadline: pure functions of it and of what there is to do.
#pragma once

#include <cstdint>

#include "coalesce/choose_batch.h"
#include "engine/urgency.h"
#include "recpile/status.h"

namespace recpile {

// What an arriving request finds.
struct Workload {
  int64_t running = 0;  // candidates still to be computed of the batches that run
  int64_t waiting = 0;  // candidates that are to be run first
  int instances = 1;
  int64_t max_batch_size = 1024;
  RunCost cost;
  // How long requests may wait, as a multiple of ForeseenWait (see WaitFactor): what else runs on the cores, and
  // batches that are not full, show in it.
  double wait_factor = 1;
};

// Until a request of `rows` candidates is run, by the cost of runs alone. What waits runs in one batch with it if all
// that fits in one; else it may be the first of a full batch, behind all that waits.
Clock::duration ForeseenWait(int64_t rows, const Workload& found);

// Unavailable, saying how long it may take, if a request of `rows` candidates in so many pieces is not likely to be in
// time. A quarter is kept in reserve: runs take now more and now less, and what is accepted should be in time.
Status CheckInTime(int64_t rows, size_t pieces, const Urgency& urgency, const Workload& found);

// How many of `rows` candidates, the first ones, are; 0: none.
int64_t RowsInTime(int64_t rows, const Urgency& urgency, const Workload& found);

}  // namespace recpile
