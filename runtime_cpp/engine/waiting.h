// The requests that wait, in the order in which they are to run.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <ranges>
#include <vector>

#include "coalesce/choose_batch.h"
#include "coalesce/cut.h"
#include "coalesce/segments.h"
#include "recpile/engine.h"

namespace recpile {

// A request that waits, or a piece of one.
struct QueuedRequest {
  CheckedRequest checked;
  InferCallback done;
  int64_t rows = 0;  // for ChooseBatch, as the next two
  Clock::time_point since = {};
  Clock::time_point deadline = kNever;
  std::chrono::microseconds timeout{0};                    // of which the deadline comes
  size_t level = 0;                                        // of priority, 0 is the highest
  std::shared_ptr<const std::atomic<bool>> canceled = {};  // InferRequest::canceled
  // Whether `rows`, the candidates to run, may become fewer than `checked` has; and how many already are left out.
  bool partial_ok = false;
  int64_t left_out = 0;
  // Of a piece: what it is a piece of, and which.
  std::shared_ptr<Assembly> whole = {};
  size_t piece = 0;
  std::shared_ptr<RequestTrace> trace = {};  // null: nobody asked
  Clock::duration foreseen_wait = {};        // when it was pushed

  int64_t least_rows() const { return partial_ok ? 1 : rows; }
  bool gone() const { return canceled != nullptr && canceled->load(std::memory_order_relaxed); }
};

// The highest level first, and within a level first in, first out. Not thread-safe.
class Waiting {
 public:
  explicit Waiting(size_t levels) : levels_(levels), rows_(levels) {}

  void Insert(QueuedRequest&& request);
  // Those at the places `from` (ascending, counted through all levels).
  std::vector<QueuedRequest> Take(const std::vector<size_t>& from);
  std::vector<QueuedRequest> TakeFront(size_t count);

  // A range of all of them.
  auto all() const { return levels_ | std::views::join; }
  size_t size() const { return size_; }
  int64_t rows() const;                        // candidates
  int64_t rows_as_far_as(size_t level) const;  // of it and the higher ones

 private:
  using Level = std::deque<QueuedRequest>;

  std::vector<Level> levels_;
  std::vector<int64_t> rows_;  // a level
  size_t size_ = 0;
};

}  // namespace recpile
