// Which waiting requests run next: a pure function of the queue, the time and the options.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace recpile {

using Clock = std::chrono::steady_clock;

struct BatchOptions {
  int64_t max_batch_size = 1024;           // candidates
  std::chrono::microseconds max_delay{0};  // how long a request may wait for company
};

struct BatchChoice {
  size_t take = 0;                             // requests from the front of the queue; 0: not yet
  std::optional<Clock::time_point> wake = {};  // with take == 0: when to ask again, if nothing arrives before
};

// Asked when an instance is idle. `queue` is first in, first out; its items have `rows` (candidates) and `since`.
// Takes as many whole requests from the front as fit max_batch_size, and always at least one (larger ones have been cut
// before they wait). Waits only while more could still fit and the oldest request has waited less than max_delay.
template <typename Queue>
BatchChoice ChooseBatch(const Queue& queue, Clock::time_point now, const BatchOptions& options) {
  if (queue.empty()) return {};
  BatchChoice choice;
  int64_t rows = 0;
  for (const auto& request : queue) {
    if (choice.take > 0 && request.rows > options.max_batch_size - rows) break;
    rows += request.rows;
    ++choice.take;
  }
  const bool full = choice.take < queue.size() || rows >= options.max_batch_size;
  const Clock::time_point due = queue.front().since + options.max_delay;
  if (full || now >= due) return choice;
  return {.take = 0, .wake = due};
}

}  // namespace recpile
