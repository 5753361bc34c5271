// Waiting requests -> one batch; a batch's outputs -> one answer a request.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "coalesce/batch_sizes.h"
#include "coalesce/segments.h"

namespace recpile {

// The batch's own memory, kept from batch to batch so that a steady load allocates nothing. One instance's at a time.
class BatchBuffers {
 public:
  // At least `bytes`, aligned to 64; what an earlier Get of the same slot gave is then invalid.
  std::byte* Get(size_t slot, size_t bytes);

 private:
  std::vector<std::vector<std::byte>> slots_;
};

// What one run of the DAG takes.
struct Batch {
  // In the manifest's order; behind them, if a stage reads it, candidate_to_request.
  std::vector<Tensor> inputs;
  int64_t requests = 0;    // rows of the request axis, padding included
  int64_t candidates = 0;  // rows of the candidate axis, likewise
  // Its ids mean nothing: one that no table has is not an error.
  bool made_up = false;
  // Some ids are to be looked up as zeros.
  bool out_of_range = false;
};

// Joins the inputs along their batch axes: candidates to candidates, requests to requests. Segments of one key lie
// together, request after request: for a keyed jagged input [F, B] that is the only order in which lengths and values
// stay feature-major. One whole request is passed through without a copy. The result points into `requests` or
// `buffers` and is valid as long as both stay untouched.
//
// If there are `sizes`, each axis is padded to the next of them: behind the last row with copies of it, whose bags are
// empty. No row's answer depends on others, and no answer is taken from these.
Batch Coalesce(const Manifest& manifest, std::span<const CheckedRequest* const> requests, BatchBuffers& buffers,
               const BatchSizes& sizes = {});

// Where one request lies in its batch.
struct Rows {
  int64_t request = 0;
  int64_t first = 0;  // candidate
  int64_t count = 0;  // of candidates
};

// Of each output the rows that are one request's, sharing its memory: its candidates', or on the request axis its one.
std::vector<Tensor> Split(const Manifest& manifest, const std::vector<Tensor>& outputs, const Rows& rows);

}  // namespace recpile
