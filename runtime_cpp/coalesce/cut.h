// A request with more candidates than a batch may have: cut into pieces that run by themselves, and their answers put
// together again.
#pragma once

#include <mutex>
#include <optional>
#include <vector>

#include "coalesce/segments.h"

namespace recpile {

// Pieces of at most `most` candidates, as equal as can be, in order. Each has the whole request's row on the request
// axis. They share the request's tensors.
std::vector<CheckedRequest> Cut(const Manifest& manifest, const CheckedRequest& request, int64_t most);

// Thread-safe: pieces may be answered in any order, on several threads.
class Assembly {
 public:
  Assembly(const Manifest& manifest, size_t pieces) : manifest_(manifest), answers_(pieces) {}

  // Once for every piece. The answer to the whole request, when this was the last one: its candidates in their order,
  // or the first failure among the pieces.
  std::optional<InferResult> Add(size_t piece, InferResult answer);

 private:
  InferResult Joined() const;

  const Manifest& manifest_;
  std::mutex mutex_;
  std::vector<std::optional<InferResult>> answers_;  // guarded by mutex_
  size_t answered_ = 0;                              // guarded by mutex_
};

}  // namespace recpile
