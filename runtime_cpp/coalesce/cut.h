// A request with more candidates than a batch may have: cut into pieces that run by themselves, and their answers put
// together again.
#pragma once

#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "coalesce/segments.h"

namespace recpile {

// Pieces of at most `most` candidates, as equal as can be, in order. Each has the whole request's row on the request
// axis. They share the request's tensors.
std::vector<CheckedRequest> Cut(const Manifest& manifest, const CheckedRequest& request, int64_t most);

// The request with its first `rows` candidates only. It shares the whole one's tensors.
CheckedRequest Leading(const Manifest& manifest, const CheckedRequest& request, int64_t rows);

// Thread-safe: pieces may be answered in any order, on several threads.
class Assembly {
 public:
  // `partial_rows`: the candidates of each piece, if the answer may lack the last ones; else empty.
  Assembly(const Manifest& manifest, size_t pieces, std::vector<int64_t> partial_rows = {})
      : manifest_(manifest), partial_rows_(std::move(partial_rows)), answers_(pieces) {}

  // Once for every piece. The answer to the whole request, when this was the last one: its candidates in their order,
  // or the first failure among the pieces. If it may lack the last ones, a piece that is Unavailable ends it.
  std::optional<InferResult> Add(size_t piece, InferResult answer);

 private:
  InferResult Joined() const;
  InferResult Joined(std::span<const std::optional<InferResult>> answers) const;

  const Manifest& manifest_;
  const std::vector<int64_t> partial_rows_;
  std::mutex mutex_;
  std::vector<std::optional<InferResult>> answers_;  // guarded by mutex_
  size_t answered_ = 0;                              // guarded by mutex_
};

}  // namespace recpile
