#include "engine/request_queue.h"

#include <algorithm>
#include <utility>

namespace recpile {
namespace {

// Looking through the queue for late requests costs its length; they need not be found sooner than this.
constexpr std::chrono::microseconds kLookEvery(500);

}  // namespace

RequestQueue::RequestQueue(const BatchOptions& batch, const QueuePolicy& policy, Refuse refuse)
    : batch_(batch), policy_(policy), refuse_(std::move(refuse)), waiting_(policy.levels) {}

Status RequestQueue::Push(std::span<QueuedRequest> pieces) {
  const Clock::time_point deadline = pieces[0].deadline;
  bool watch = false;
  {
    const std::lock_guard lock(mutex_);
    int64_t rows = 0;
    for (const QueuedRequest& piece : pieces) rows += piece.rows;
    const Urgency urgency = {pieces[0].since, deadline, pieces[0].level, pieces[0].timeout};
    RECPILE_RETURN_IF_ERROR(Admit(urgency, rows, pieces.size()));
    pieces[0].foreseen_wait = ForeseenWait(rows, Found(urgency));
    if (deadline != kNever && !policy_.delay_late) {
      watch = deadline - cost_.At(pieces[0].since).Of(pieces[0].rows) < watched_;
    }
    for (QueuedRequest& piece : pieces) waiting_.Insert(std::move(piece));
  }
  changed_.notify_one();  // whom it wakes passes on what it leaves
  if (watch) deadlines_changed_.notify_one();
  return {};
}

Workload RequestQueue::Found(const Urgency& urgency) const {
  const int64_t waiting = waiting_.rows_as_far_as(urgency.level);
  // What runs now is half done, as far as anyone knows.
  return {.running = running_rows_ / 2,
          .waiting = waiting,
          .instances = policy_.instances,
          .max_batch_size = batch_.max_batch_size,
          .cost = cost_.At(urgency.since),
          .wait_factor = wait_factor_.At(urgency.since)};
}

int64_t RequestQueue::RowsInTime(int64_t rows, const Urgency& urgency) const {
  if (policy_.delay_late) return rows;
  const std::lock_guard lock(mutex_);
  return recpile::RowsInTime(rows, urgency, Found(urgency));
}

Status RequestQueue::Room() const {
  const std::lock_guard lock(mutex_);
  return RoomLocked();
}

Status RequestQueue::RoomLocked() const {
  if (closed_) return Status::Unavailable("the engine is stopping; send the request elsewhere");
  if (waiting_.size() < policy_.max_size) return {};
  return Status::Unavailable("the queue is full: " + std::to_string(policy_.max_size) +
                             " requests wait; send fewer at once");
}

Status RequestQueue::Admissible(const Urgency& urgency) const {
  const std::lock_guard lock(mutex_);
  return Admit(urgency, 1, 1);
}

Status RequestQueue::Admit(const Urgency& urgency, int64_t rows, size_t pieces) const {
  RECPILE_RETURN_IF_ERROR(RoomLocked());
  if (urgency.deadline == kNever || policy_.delay_late) return {};
  return CheckInTime(rows, pieces, urgency, Found(urgency));
}

std::vector<QueuedRequest> RequestQueue::PopBatch() {
  std::unique_lock lock(mutex_);
  while (true) {
    const Clock::time_point now = Clock::now();
    const RunCost cost = cost_.At(now);
    const BatchChoice choice = ChooseBatch(waiting_.all(), now, OptionsNow(cost), cost);
    if (!choice.late.empty()) {
      Late(waiting_.Take(choice.late), lock);
      continue;
    }
    if (choice.take > 0) {
      std::vector<QueuedRequest> batch = waiting_.TakeFront(choice.take);
      batch.front().left_out += batch.front().rows - choice.first_rows;
      batch.front().rows = choice.first_rows;
      wait_factor_.Learn(now - batch.front().since, batch.front().foreseen_wait, now);
      for (const QueuedRequest& request : batch) running_rows_ += request.rows;
      // What is left over may be enough for another instance, whose wake-up this one may have used.
      if (waiting_.size() > 0) changed_.notify_one();
      return batch;
    }
    if (!choice.wake && closed_) return {};
    ++idle_;
    if (choice.wake) {
      changed_.wait_until(lock, *choice.wake);
    } else {
      changed_.wait(lock);
    }
    --idle_;
  }
}

BatchOptions RequestQueue::OptionsNow(const RunCost& cost) const {
  BatchOptions options = batch_;
  if (!hold_back_) options.max_delay = {};
  if (waiting_.size() > 1 && idle_ > 0) {
    const int64_t waiting = waiting_.rows();
    const int64_t shares = Spread(waiting, idle_ + 1, cost, policy_.sizes);
    options.max_batch_size = std::min(options.max_batch_size, (waiting + shares - 1) / shares);
  }
  return options;
}

int64_t RequestQueue::WorthCutting(int64_t rows) const {
  if (idle_ < 2) return 1;
  const std::lock_guard lock(mutex_);
  // What waits already will take the instances that idle.
  return waiting_.size() > 0 ? 1 : Spread(rows, idle_, cost_.At(Clock::now()), policy_.sizes);
}

void RequestQueue::Seed(int64_t rows, Clock::duration took) {
  const std::lock_guard lock(mutex_);
  cost_.Seed(rows, took, Clock::now());
}

void RequestQueue::Measured(int64_t rows, Clock::duration took) {
  const std::lock_guard lock(mutex_);
  running_rows_ -= rows;
  cost_.Measured(rows, took, Clock::now());
}

void RequestQueue::Late(std::vector<QueuedRequest> requests, std::unique_lock<std::mutex>& lock) {
  if (policy_.delay_late) {
    const auto late = std::ranges::partition(requests, &QueuedRequest::gone);
    for (QueuedRequest& request : late) {
      request.deadline = kNever;
      waiting_.Insert(std::move(request));
    }
    requests.erase(late.begin(), late.end());
    if (requests.empty()) return;
  }
  const Clock::time_point now = Clock::now();
  for (const QueuedRequest& request : requests) {
    if (!request.gone()) wait_factor_.Learn(now - request.since, request.foreseen_wait, now);
  }
  lock.unlock();
  refuse_(std::move(requests));
  lock.lock();
}

void RequestQueue::WatchDeadlines() {
  std::unique_lock lock(mutex_);
  while (!closed_) {
    const Clock::time_point now = Clock::now();
    const RunCost cost = cost_.At(now);
    std::vector<size_t> late;
    watched_ = kNever;
    if (!policy_.delay_late) {
      size_t place = 0;
      for (const QueuedRequest& request : waiting_.all()) {
        if (IsLate(request, now, cost)) {
          late.push_back(place);
        } else if (request.deadline != kNever) {
          watched_ = std::min(watched_, request.deadline - cost.Of(request.rows));
        }
        ++place;
      }
    }
    if (!late.empty()) {
      Late(waiting_.Take(late), lock);
    } else if (watched_ == kNever) {
      deadlines_changed_.wait(lock);
    } else {
      watched_ = std::max(watched_, now + kLookEvery);
      deadlines_changed_.wait_until(lock, watched_);
    }
  }
}

void RequestQueue::HoldNothingBack() {
  {
    const std::lock_guard lock(mutex_);
    hold_back_ = false;
  }
  changed_.notify_all();
}

void RequestQueue::Close() {
  {
    const std::lock_guard lock(mutex_);
    hold_back_ = false;
    closed_ = true;
  }
  changed_.notify_all();
  deadlines_changed_.notify_all();
}

size_t RequestQueue::size() const {
  const std::lock_guard lock(mutex_);
  return waiting_.size();
}

}  // namespace recpile
