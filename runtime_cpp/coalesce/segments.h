// A request's inputs, checked, and cut into the pieces that coalescing interleaves.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "artifact/manifest.h"
#include "recpile/engine.h"

namespace recpile {

// Bytes [begin, end) of a tensor's data.
struct Segment {
  size_t begin = 0;
  size_t end = 0;

  size_t size() const { return end - begin; }
  bool operator==(const Segment&) const = default;
};

// One input tensor of one request, key by key. A dense tensor is one segment; lengths are F equal ones; values and
// weights are F, as long as their key's bags together. They lie one behind the other and are all of the data, but in a
// piece of a request (cut.h), whose tensor has the piece's shape and the whole request's data.
struct SegmentedInput {
  Tensor tensor;
  std::vector<Segment> segments;
};

// The axis that grows when requests are joined: that of lengths [F, B] is last, everything else grows in front.
inline size_t GrowingAxis(const InputTensor& input) {
  return input.role == InputRole::kLengths ? input.spec.shape.size() - 1 : 0;
}

struct CheckedRequest {
  std::vector<SegmentedInput> inputs;  // in the manifest's order
  int64_t rows = 0;                    // candidates, at least 1; of requests there is one
  bool out_of_range = false;           // some ids are to be looked up as zeros
};

struct IdPolicy {
  OutOfRange out_of_range = OutOfRange::kError;
  // Called with each table that lacks ids of the request, and how many; also when that is an error. May be empty.
  std::function<void(int32_t table, uint64_t ids)> count = {};
};

// Checks names, types, shapes, lengths and ids. InvalidArgument names the input, what it was and what was expected.
// After this, nothing in the request can make a lookup read out of bounds, if it heeds `out_of_range`.
Result<CheckedRequest> CheckRequest(const Manifest& manifest, InferRequest request, const IdPolicy& ids = {});

}  // namespace recpile
