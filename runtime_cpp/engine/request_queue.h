// The waiting requests of one engine, and the instances that wait for them.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <vector>

#include "coalesce/choose_batch.h"
#include "coalesce/segments.h"
#include "recpile/engine.h"

namespace recpile {

struct QueuedRequest {
  CheckedRequest checked;
  InferCallback done;
  int64_t rows = 0;  // for ChooseBatch
  Clock::time_point since = {};
};

// Thread-safe. First in, first out.
class RequestQueue {
 public:
  RequestQueue(const BatchOptions& batch, size_t max_size) : batch_(batch), max_size_(max_size) {}

  // Unavailable, and `request` is untouched, when the queue is full or closed.
  Status Push(QueuedRequest&& request);

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
