// One thread's share of an engine.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "artifact/manifest.h"
#include "coalesce/coalescer.h"
#include "engine/counters.h"
#include "engine/request_queue.h"
#include "execute/executor.h"

namespace recpile {

// Answers a request, or adds its piece of the answer, and counts it. The callback must not throw.
void Finish(QueuedRequest& request, InferResult answer, Counters& counters);

// Runs batches, one at a time, on the thread that calls it; the executor's InitThread has been called there. What it
// refers to must outlive it.
class Instance {
 public:
  // Called with each batch, when its requests have been answered.
  using Observer = std::function<void(const BatchTrace& batch, TraceTime answered)>;

  // `number`: which of its engine's instances it is.
  Instance(const Manifest& manifest, const Executor& executor, const BatchSizes& sizes, Counters& counters,
           Observer observer = {}, int64_t number = 0)
      : manifest_(manifest),
        executor_(executor),
        sizes_(sizes),
        counters_(counters),
        observer_(std::move(observer)),
        number_(number),
        frame_(executor.NewFrame()) {}

  // Answers what the queue hands out, until it is closed and empty.
  void Serve(RequestQueue& queue);

  // One run over made-up requests: ids that a stage computes and no table has are no error, and nothing is counted.
  Status WarmUp(std::span<const CheckedRequest* const> requests);

 private:
  void Answer(std::vector<QueuedRequest>& batch);
  void CountLookups();
  // What the batch is noted down in; null if nobody looks on.
  std::shared_ptr<BatchTrace> NewTrace(const std::vector<QueuedRequest>& batch) const;
  void Observe(const BatchTrace* trace) const;
  Result<std::vector<Tensor>> Execute(std::span<const CheckedRequest* const> requests, BatchTrace* trace);

  const Manifest& manifest_;
  const Executor& executor_;
  const BatchSizes& sizes_;
  Counters& counters_;
  const Observer observer_;
  const int64_t number_;
  Executor::FramePtr frame_;
  BatchBuffers buffers_;
};

}  // namespace recpile
