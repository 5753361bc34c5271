// The waiting requests of one engine, and the instances that wait for them.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <span>
#include <vector>

#include "coalesce/choose_batch.h"
#include "coalesce/spread.h"
#include "engine/admission.h"
#include "engine/urgency.h"
#include "engine/wait_factor.h"
#include "engine/waiting.h"
#include "recpile/engine.h"

namespace recpile {

struct QueuePolicy {
  size_t max_size = 4096;
  size_t levels = 1;
  // What becomes of requests that cannot be answered in time: refused, or put behind the others of their level.
  bool delay_late = false;
  int instances = 1;      // that empty the queue, to estimate how long a request would wait
  BatchSizes sizes = {};  // at which batches run
};

// Thread-safe. The highest level first, and within a level first in, first out.
class RequestQueue {
 public:
  // Takes requests that wait and are gone, or can no longer be answered in time, to answer that. Called without the
  // lock, on any thread that is in a method of the queue.
  using Refuse = std::function<void(std::vector<QueuedRequest>)>;

  RequestQueue(const BatchOptions& batch, const QueuePolicy& policy, Refuse refuse);

  // Queues one request: itself, or all its pieces. Unavailable, and they are untouched, when the queue is full or
  // closed, or when what waits already leaves too little time for it. The pieces of one request need room for one only.
  Status Push(std::span<QueuedRequest> pieces);
  Status Push(QueuedRequest&& request) { return Push(std::span(&request, 1)); }

  // Unavailable when one more would not be queued, whatever it holds.
  Status Room() const;

  // Unavailable when not even one candidate of that urgency would be queued: then a request need not be checked.
  Status Admissible(const Urgency& urgency) const;

  // How many of `rows` candidates, the first ones, a request of that urgency can hope to have answered in time if it is
  // pushed now; 0: none.
  int64_t RowsInTime(int64_t rows, const Urgency& urgency) const;

  // Into how many pieces a request of `rows` candidates is best cut if it is pushed now.
  int64_t WorthCutting(int64_t rows) const;

  // Blocks until ChooseBatch takes something. Empty: the queue is closed and drained, there will be nothing more. After
  // a batch has run, Measured. While other instances idle it takes no more than its share, if that is answered sooner.
  std::vector<QueuedRequest> PopBatch();
  // A run while the engine warmed up, of which no request was part.
  void Seed(int64_t rows, Clock::duration took);
  void Measured(int64_t rows, Clock::duration took);

  // Blocks until the queue is closed; meanwhile refuses every request when its time is over, busy though all instances
  // may be. For a thread of its own.
  void WatchDeadlines();

  // From now on no request waits for company: those that are here are handed out at once, and so are those that come.
  void HoldNothingBack();

  // Refuses further requests; those that wait are still handed out, without delay.
  void Close();

  size_t size() const;

 private:
  Status RoomLocked() const;
  Status Admit(const Urgency& urgency, int64_t rows, size_t pieces) const;
  Workload Found(const Urgency& urgency) const;
  // The options as they are for an instance that asks now.
  BatchOptions OptionsNow(const RunCost& cost) const;
  // Refuses them, without the lock, or puts those that are only late behind the others.
  void Late(std::vector<QueuedRequest> requests, std::unique_lock<std::mutex>& lock);

  const BatchOptions batch_;
  const QueuePolicy policy_;
  const Refuse refuse_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::condition_variable deadlines_changed_;
  // All guarded by mutex_.
  Waiting waiting_;
  int64_t running_rows_ = 0;
  std::atomic<int64_t> idle_ = 0;  // instances that wait in PopBatch; changed under mutex_
  RunCostModel cost_;
  WaitFactor wait_factor_;
  Clock::time_point watched_ = kNever;  // when WatchDeadlines looks next
  bool hold_back_ = true;               // requests that wait for company
  bool closed_ = false;
};

}  // namespace recpile
