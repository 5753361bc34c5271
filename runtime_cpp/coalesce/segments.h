// A request's inputs, checked, and cut into the pieces that coalescing interleaves.
#pragma once

#include <cstdint>
#include <vector>

#include "artifact/manifest.h"
#include "recpile/engine.h"

namespace recpile {

// One input tensor of one request. Key k of it is the bytes [ends[k - 1], ends[k]) of its data. A dense tensor is one
// segment; lengths are F equal ones; values and weights are F, as long as their key's bags together.
struct SegmentedInput {
  Tensor tensor;
  std::vector<size_t> ends;
};

struct CheckedRequest {
  std::vector<SegmentedInput> inputs;  // in the manifest's order
  int64_t rows = 0;                    // candidates, at least 1; of requests there is one
};

// Checks names, types, shapes, lengths and ids. InvalidArgument names the input, what it was and what was expected.
// After this, nothing in the request can make a lookup read out of bounds.
Result<CheckedRequest> CheckRequest(const Manifest& manifest, InferRequest request);

}  // namespace recpile
