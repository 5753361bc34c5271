#include "engine/request_queue.h"

#include <iterator>

namespace recpile {

Status RequestQueue::Push(std::span<QueuedRequest> pieces) {
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return Status::Unavailable("the engine is stopping; send the request elsewhere");
    if (waiting_.size() >= max_size_) {
      return Status::Unavailable("the queue is full: " + std::to_string(max_size_) +
                                 " requests wait; send fewer at once");
    }
    waiting_.insert(waiting_.end(), std::make_move_iterator(pieces.begin()), std::make_move_iterator(pieces.end()));
  }
  changed_.notify_one();  // whom it wakes passes on what it leaves
  return {};
}

std::vector<QueuedRequest> RequestQueue::PopBatch() {
  std::unique_lock lock(mutex_);
  while (true) {
    BatchOptions options = batch_;
    if (closed_) options.max_delay = {};
    const BatchChoice choice = ChooseBatch(waiting_, Clock::now(), options);
    if (choice.take > 0) {
      const auto end = waiting_.begin() + static_cast<std::ptrdiff_t>(choice.take);
      std::vector<QueuedRequest> batch(std::make_move_iterator(waiting_.begin()), std::make_move_iterator(end));
      waiting_.erase(waiting_.begin(), end);
      // What is left over may be enough for another instance, whose wake-up this one may have used.
      if (!waiting_.empty()) changed_.notify_one();
      return batch;
    }
    if (choice.wake) {
      changed_.wait_until(lock, *choice.wake);
    } else if (closed_) {
      return {};
    } else {
      changed_.wait(lock);
    }
  }
}

void RequestQueue::Close() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  changed_.notify_all();
}

size_t RequestQueue::size() const {
  const std::lock_guard lock(mutex_);
  return waiting_.size();
}

}  // namespace recpile
