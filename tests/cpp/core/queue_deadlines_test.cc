// RequestQueue with priorities and deadlines. request_queue_test.cc: order, delay, waking and closing.
#include <gtest/gtest.h>

#include <future>

#include "numbered_queue.h"

namespace recpile {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using testing::Numbers;
using testing::Order;

// Tells requests apart by a number; keeps those that are refused for being late.
class DeadlineQueue : public ::testing::Test {
 protected:
  RequestQueue Make(QueuePolicy policy) {
    return RequestQueue({8, std::chrono::microseconds(0)}, policy, [this](std::vector<QueuedRequest> late) {
      for (const int64_t number : Numbers(late)) late_.push_back(number);
      if (on_late_) on_late_();
    });
  }

  QueuedRequest Request(int64_t number, size_t level = 0, Clock::duration timeout = {}, int64_t rows = 1) const {
    QueuedRequest request;
    request.checked.rows = number;
    request.done = [](InferResult) {};
    request.rows = rows;
    request.since = begin_;
    request.level = level;
    if (timeout != Clock::duration{}) request.deadline = request.since + timeout;
    request.timeout = std::chrono::duration_cast<std::chrono::microseconds>(timeout);
    return request;
  }

  // Its time has been over for an hour.
  QueuedRequest Overdue(int64_t number, size_t level = 0) const {
    QueuedRequest request = Request(number, level);
    request.since -= hours(2);
    request.deadline = request.since + hours(1);
    return request;
  }

  // A run of `rows` candidates, which took so long.
  void Run(RequestQueue& queue, int64_t rows, Clock::duration took) const {
    ASSERT_TRUE(queue.Push(Request(0, 0, {}, rows)).ok());
    ASSERT_EQ(queue.PopBatch().size(), 1u);
    queue.Measured(rows, took);
  }

  // When every request came. What runs cost is forgotten as time passes behind them, and no run is behind this.
  const Clock::time_point begin_ = Clock::now();
  Order late_;
  std::function<void()> on_late_;
};

TEST_F(DeadlineQueue, HigherLevelsGoFirstAndOthersInOrder) {
  RequestQueue queue = Make({.levels = 3});
  const size_t levels[] = {2, 1, 0, 2, 0, 1};
  for (int64_t i = 0; i < 6; ++i) ASSERT_TRUE(queue.Push(Request(i, levels[i])).ok());
  EXPECT_EQ(Numbers(queue.PopBatch()), (Order{2, 4, 1, 5, 0, 3}));
  EXPECT_EQ(queue.size(), 0u);
}

TEST_F(DeadlineQueue, BatchThatIsFullLeavesTheLowerLevels) {
  RequestQueue queue = Make({.levels = 2});
  ASSERT_TRUE(queue.Push(Request(0, 1, {}, 5)).ok());
  ASSERT_TRUE(queue.Push(Request(1, 0, {}, 5)).ok());
  EXPECT_EQ(Numbers(queue.PopBatch()), Order{1});
  ASSERT_TRUE(queue.Push(Request(2, 0, {}, 3)).ok());
  EXPECT_EQ(Numbers(queue.PopBatch()), (Order{2, 0}));
}

TEST_F(DeadlineQueue, LateRequestsAreRefusedAndNotRun) {
  RequestQueue queue = Make({.levels = 2});
  ASSERT_TRUE(queue.Push(Overdue(0)).ok());
  ASSERT_TRUE(queue.Push(Request(1)).ok());
  ASSERT_TRUE(queue.Push(Overdue(2, 1)).ok());
  ASSERT_TRUE(queue.Push(Request(3, 1)).ok());
  EXPECT_EQ(Numbers(queue.PopBatch()), (Order{1, 3}));
  EXPECT_EQ(late_, (Order{0, 2}));
  EXPECT_EQ(queue.size(), 0u);
}

TEST_F(DeadlineQueue, OrTheyAreDelayedBehindTheOthersOfTheirLevel) {
  RequestQueue queue = Make({.levels = 2, .delay_late = true});
  ASSERT_TRUE(queue.Push(Overdue(0)).ok());
  ASSERT_TRUE(queue.Push(Request(1)).ok());
  ASSERT_TRUE(queue.Push(Request(2, 1)).ok());
  EXPECT_EQ(Numbers(queue.PopBatch()), (Order{1, 0, 2}));
  EXPECT_TRUE(late_.empty());
}

TEST_F(DeadlineQueue, RequestsThatNobodyWaitsForAreRefusedWhateverHappensToLateOnes) {
  for (const bool delay : {false, true}) {
    late_.clear();
    RequestQueue queue = Make({.delay_late = delay});
    const auto gone = std::make_shared<std::atomic<bool>>(false);
    for (int64_t i = 0; i < 3; ++i) {
      QueuedRequest request = Request(i);
      if (i != 1) request.canceled = gone;
      ASSERT_TRUE(queue.Push(std::move(request)).ok());
    }
    *gone = true;
    EXPECT_EQ(Numbers(queue.PopBatch()), Order{1});
    EXPECT_EQ(late_, (Order{0, 2}));
    EXPECT_EQ(queue.size(), 0u);
  }
}

TEST_F(DeadlineQueue, LateRequestsOfAClosedQueueAreRefusedToo) {
  RequestQueue queue = Make({});
  ASSERT_TRUE(queue.Push(Overdue(0)).ok());
  ASSERT_TRUE(queue.Push(Request(1)).ok());
  queue.Close();
  EXPECT_EQ(Numbers(queue.PopBatch()), Order{1});
  EXPECT_TRUE(queue.PopBatch().empty());
  EXPECT_EQ(late_, Order{0});
}

TEST_F(DeadlineQueue, RequestThatCannotMakeItsDeadlineIsNotAccepted) {
  RequestQueue queue = Make({.instances = 1});
  // Eight candidates took a second; sixteen wait.
  Run(queue, 8, std::chrono::seconds(1));
  for (int64_t i = 0; i < 2; ++i) ASSERT_TRUE(queue.Push(Request(i, 0, {}, 8)).ok());
  const Status status = queue.Push(Request(2, 0, milliseconds(1500)));
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_NE(status.message().find("longer than its timeout of 1500000 us"), std::string::npos) << status.message();
  EXPECT_TRUE(queue.Push(Request(3, 0, hours(1))).ok());
  EXPECT_TRUE(queue.Push(Request(4)).ok());
}

TEST_F(DeadlineQueue, RowsInTimeAreThoseThatAreThenAccepted) {
  RequestQueue queue = Make({.instances = 1});
  // A second a run and a second a candidate.
  for (const int64_t rows : {1, 3, 5, 8}) Run(queue, rows, std::chrono::seconds(1 + rows));
  ASSERT_TRUE(queue.Push(Request(0, 0, {}, 3)).ok());
  const auto in = [this](int64_t seconds) {
    return Urgency{.since = begin_, .deadline = begin_ + std::chrono::seconds(seconds)};
  };
  // Of 16 s a quarter is reserve; a full run, of those that wait and 5 more, takes 9.
  EXPECT_EQ(queue.RowsInTime(8, in(16)), 5);
  EXPECT_EQ(queue.RowsInTime(8, in(3600)), 8);
  EXPECT_EQ(queue.RowsInTime(8, in(4)), 0);
  EXPECT_EQ(queue.RowsInTime(8, {}), 8);
  // Larger than a batch: whole runs of 8, 9 s each. 30 s are 26 without what waits.
  EXPECT_EQ(queue.RowsInTime(100, in(40)), 16);
  QueuedRequest request = Request(1, 0, {}, queue.RowsInTime(8, in(16)));
  request.deadline = request.since + std::chrono::seconds(16);
  EXPECT_TRUE(queue.Push(std::move(request)).ok());
}

TEST_F(DeadlineQueue, WaitsLongerThanForeseenMakeItAcceptLess) {
  RequestQueue queue = Make({.instances = 1});
  // Minutes, so that what this test takes counts for nothing.
  Run(queue, 8, minutes(1));
  const auto refused = [&] { return !queue.Push(Request(0, 0, minutes(3), 8)).ok(); };
  ASSERT_TRUE(queue.Push(Request(0, 0, {}, 8)).ok());
  // What waits takes a minute, the request itself as long.
  ASSERT_FALSE(refused());
  for (int i = 0; i < 2; ++i) ASSERT_EQ(queue.PopBatch().size(), 1u);
  queue.Measured(16, minutes(2));
  // One that foresaw a minute has waited ten times as long.
  ASSERT_TRUE(queue.Push(Request(0, 0, {}, 8)).ok());
  QueuedRequest waited = Request(0, 0, {}, 8);
  waited.since -= minutes(10);
  ASSERT_TRUE(queue.Push(std::move(waited)).ok());
  for (int i = 0; i < 2; ++i) ASSERT_EQ(queue.PopBatch().size(), 1u);
  queue.Measured(16, minutes(2));
  ASSERT_TRUE(queue.Push(Request(0, 0, {}, 8)).ok());
  EXPECT_TRUE(refused());
}

TEST_F(DeadlineQueue, WhatWaitsAtALowerLevelIsNotInItsWay) {
  RequestQueue queue = Make({.levels = 2, .instances = 1});
  Run(queue, 8, milliseconds(100));
  for (int64_t i = 0; i < 10; ++i) ASSERT_TRUE(queue.Push(Request(i, 1, {}, 8)).ok());
  EXPECT_FALSE(queue.Push(Request(10, 1, milliseconds(500))).ok());
  EXPECT_TRUE(queue.Push(Request(11, 0, milliseconds(500))).ok());
}

TEST_F(DeadlineQueue, WatcherRefusesWhatNobodyHasTimeToRun) {
  std::promise<void> refused;
  on_late_ = [&] { refused.set_value(); };
  RequestQueue queue = Make({});
  auto watching = std::async(std::launch::async, [&] { queue.WatchDeadlines(); });
  ASSERT_TRUE(queue.Push(Request(0)).ok());
  ASSERT_TRUE(queue.Push(Request(1, 0, milliseconds(2))).ok());
  // No instance asks for a batch.
  refused.get_future().wait();
  EXPECT_EQ(late_, Order{1});
  EXPECT_EQ(queue.size(), 1u);
  queue.Close();
  watching.get();
}

TEST_F(DeadlineQueue, WatcherEndsWhenTheQueueIsClosed) {
  RequestQueue queue = Make({});
  auto watching = std::async(std::launch::async, [&] { queue.WatchDeadlines(); });
  ASSERT_TRUE(queue.Push(Request(0, 0, hours(1))).ok());
  queue.Close();
  watching.get();
  EXPECT_TRUE(late_.empty());
}

TEST_F(DeadlineQueue, SoonerDeadlineWakesTheWatcher) {
  std::promise<void> refused;
  on_late_ = [&] { refused.set_value(); };
  RequestQueue queue = Make({});
  ASSERT_TRUE(queue.Push(Request(0, 0, hours(1))).ok());
  auto watching = std::async(std::launch::async, [&] { queue.WatchDeadlines(); });
  ASSERT_TRUE(queue.Push(Request(1, 0, milliseconds(3))).ok());
  refused.get_future().wait();
  EXPECT_EQ(late_, Order{1});
  queue.Close();
  watching.get();
}

}  // namespace
}  // namespace recpile
