// Waiting requests -> one batch; a batch's outputs -> one answer a request.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

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

// Joins the inputs along their batch axes. Segments of one key lie together, request after request: for a keyed jagged
// input [F, B] that is the only order in which lengths and values stay feature-major. One request is passed through
// without a copy. The result points into `requests` or `buffers` and is valid as long as both stay untouched.
std::vector<Tensor> Coalesce(const Manifest& manifest, std::span<const CheckedRequest* const> requests,
                             BatchBuffers& buffers);

// The rows [first, first + rows) of each output, sharing its memory.
std::vector<Tensor> SplitRows(const std::vector<Tensor>& outputs, int64_t first, int64_t rows);

}  // namespace recpile
