// Whether a request that comes now can be answered by its deadline: pure functions of it and of what there is to do.
#pragma once

#include <cstdint>

#include "coalesce/run_cost.h"
#include "engine/urgency.h"
#include "recpile/status.h"

namespace recpile {

// What an arriving request finds.
struct Workload {
  int64_t rows_ahead = 0;  // candidates that are to be run first
  int instances = 1;
  int64_t max_batch_size = 1024;
  RunCost cost;
};

// Unavailable, saying how long it may take, if a request of `rows` candidates in so many pieces is not likely to be in
// time. A quarter is kept in reserve: runs take now more and now less, and what is accepted should be in time.
Status CheckInTime(int64_t rows, size_t pieces, const Urgency& urgency, const Workload& found);

// How many of `rows` candidates, the first ones, are; 0: none.
int64_t RowsInTime(int64_t rows, const Urgency& urgency, const Workload& found);

}  // namespace recpile
