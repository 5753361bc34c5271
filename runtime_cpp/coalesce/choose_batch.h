// Which waiting requests run next: a pure function of the queue, the time, the options, and what runs have cost so far.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "coalesce/run_cost.h"

namespace recpile {

struct BatchOptions {
  int64_t max_batch_size = 1024;           // candidates
  std::chrono::microseconds max_delay{0};  // how long a request may wait for company
  // Candidates of batches that need not wait for more.
  std::vector<int64_t> preferred_batch_sizes = {};
};

// Without a deadline.
inline constexpr Clock::time_point kNever = Clock::time_point::max();

struct BatchChoice {
  size_t take = 0;                             // requests from the front of the queue; 0: not yet
  int64_t first_rows = 0;                      // with take > 0: how many candidates of the first request are to run
  std::optional<Clock::time_point> wake = {};  // with take == 0: when to ask again, if nothing arrives before
  // Places in the queue, ascending, of requests that nobody waits for, or that can no longer be answered by their
  // deadline. If there are any, nothing is taken: ask again when they have been dealt with.
  std::vector<size_t> late = {};
};

// Runs take now more and now less: what would take all the time there is may be late.
inline Clock::duration WithReserve(Clock::duration usual) { return usual + usual / 4; }

// Whether a request would miss its deadline even if it ran at once and alone: with the fewest candidates it allows.
template <typename Request>
bool IsLate(const Request& request, Clock::time_point now, const RunCost& cost) {
  return request.deadline != kNever && now + cost.Of(request.least_rows()) > request.deadline;
}

// How many candidates of a request that is not late are to run now.
template <typename Request>
int64_t RowsToRun(const Request& request, Clock::time_point now, const RunCost& cost) {
  if (request.deadline == kNever || request.least_rows() == request.rows) return request.rows;
  if (now + cost.Of(request.rows) <= request.deadline) return request.rows;
  // WithReserve, the other way round.
  return std::max(request.least_rows(), cost.RowsWithin((request.deadline - now) * 4 / 5, request.rows));
}

// Asked when an instance is idle. `queue` is in the order in which requests are to run; its items have `rows`
// (candidates, at least 1), `since`, `deadline`, `gone()` (nobody waits for it) and `least_rows()` (as many must be
// answered: all, or 1). Takes whole requests from the front: as many as fit max_batch_size
// (always at least one: larger ones have been cut before they wait) and do not make one of them miss its deadline; only
// of the first it may leave candidates out. Of these, those that add up to the largest preferred size run at once; else
// it waits, while more could still come, until the oldest has waited max_delay, or half of its time.
template <typename Queue>
BatchChoice ChooseBatch(Queue&& queue, Clock::time_point now, const BatchOptions& options, const RunCost& cost = {}) {
  BatchChoice choice;
  int64_t rows = 0;
  size_t place = 0, preferred = 0;
  bool full = false;
  Clock::time_point due = kNever, end = kNever;
  for (const auto& request : queue) {
    const size_t here = place++;
    if (request.gone() || IsLate(request, now, cost)) {
      choice.late.push_back(here);
      continue;
    }
    if (choice.take > 0) {
      full = request.rows > options.max_batch_size - rows ||
             (std::min(end, request.deadline) != kNever &&
              now + WithReserve(cost.Of(rows + request.rows)) > std::min(end, request.deadline));
      if (full) break;
    }
    const int64_t now_rows = choice.take == 0 ? RowsToRun(request, now, cost) : request.rows;
    const bool cut = now_rows < request.rows;
    if (choice.take == 0) choice.first_rows = now_rows;
    rows += now_rows;
    ++choice.take;
    end = std::min(end, request.deadline);
    due = std::min(due, request.since + options.max_delay);
    if (request.deadline != kNever) due = std::min(due, request.since + (request.deadline - request.since) / 2);
    const auto& sizes = options.preferred_batch_sizes;
    if (std::find(sizes.begin(), sizes.end(), rows) != sizes.end()) preferred = choice.take;
    full = cut || rows >= options.max_batch_size;
    if (full) break;
  }
  if (!choice.late.empty()) return {.late = std::move(choice.late)};
  if (choice.take == 0) return {};
  if (preferred > 0) return {.take = preferred, .first_rows = choice.first_rows};
  if (full || now >= due) return choice;
  return {.take = 0, .wake = due};
}

}  // namespace recpile
