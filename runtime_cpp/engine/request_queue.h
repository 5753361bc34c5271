// The waiting requests of one engine, and the instances that wait for them.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <span>
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
  int64_t rows = 0;  // for ChooseBatch
  Clock::time_point since = {};
  // Of a piece: what it is a piece of, and which.
  std::shared_ptr<Assembly> whole;
  size_t piece = 0;
};

// Thread-safe. First in, first out.
class RequestQueue {
 public:
  RequestQueue(const BatchOptions& batch, size_t max_size) : batch_(batch), max_size_(max_size) {}

  // Queues one request: itself, or all its pieces. Unavailable, and they are untouched, when the queue is full or
  // closed. The pieces of one request need room for one only.
  Status Push(std::span<QueuedRequest> pieces);
  Status Push(QueuedRequest&& request) { return Push(std::span(&request, 1)); }

  // Blocks until ChooseBatch takes something. Empty: the queue is closed and drained, there will be nothing more.
  std::vector<QueuedRequest> PopBatch();

  // Refuses further requests; those that wait are still handed out, without delay.
  void Close();

  size_t size() const;

 private:
  const BatchOptions batch_;
  const size_t max_size_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<QueuedRequest> waiting_;  // guarded by mutex_
  bool closed_ = false;                // guarded by mutex_
};

}  // namespace recpile
