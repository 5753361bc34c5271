// A queue of requests that are told apart by numbers.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <utility>
#include <vector>

#include "engine/request_queue.h"

namespace recpile::testing {

inline constexpr auto kForever = std::chrono::hours(1);

// A request that can be told from others, of `rows` candidates.
inline QueuedRequest Numbered(int64_t number, int64_t rows = 1) {
  QueuedRequest request;
  request.checked.rows = number;
  request.done = [](InferResult) {};
  request.rows = rows;
  request.since = Clock::now();
  return request;
}

inline std::vector<int64_t> Numbers(const std::vector<QueuedRequest>& requests) {
  std::vector<int64_t> numbers;
  for (const QueuedRequest& request : requests) numbers.push_back(request.checked.rows);
  return numbers;
}

using Order = std::vector<int64_t>;

// A queue with one level, whose requests have no deadlines.
class Queue : public RequestQueue {
 public:
  Queue(int64_t most, Clock::duration delay, size_t size)
      : RequestQueue({most, std::chrono::duration_cast<std::chrono::microseconds>(delay)}, {.max_size = size},
                     [](std::vector<QueuedRequest>) { ADD_FAILURE() << "nothing is late"; }) {}
};

}  // namespace recpile::testing
