// RequestQueue: order, delay, waking and closing. queue_deadlines_test.cc: priorities and deadlines;
// queue_races_test.cc: several threads at once.
#include "engine/request_queue.h"

#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "numbered_queue.h"

namespace recpile {
namespace {

using testing::kForever;
using testing::Numbered;
using testing::Numbers;
using testing::Order;
using testing::Queue;

TEST(RequestQueue, IsFirstInFirstOut) {
  Queue queue(2, std::chrono::microseconds(0), 100);
  for (int64_t i = 0; i < 5; ++i) ASSERT_TRUE(queue.Push(Numbered(i)).ok());
  EXPECT_EQ(queue.size(), 5u);
  EXPECT_EQ(Numbers(queue.PopBatch()), (Order{0, 1}));
  EXPECT_EQ(Numbers(queue.PopBatch()), (Order{2, 3}));
  EXPECT_EQ(Numbers(queue.PopBatch()), (Order{4}));
  EXPECT_EQ(queue.size(), 0u);
}

TEST(RequestQueue, InstancesThatIdleShareWhatComesIfThatIsFaster) {
  Queue queue(1024, std::chrono::microseconds(0), 100);
  // 100 s and a second a candidate: what is known halves every second that nothing runs, and must last for this test.
  queue.Seed(1, std::chrono::seconds(101));
  queue.Seed(401, std::chrono::seconds(501));
  EXPECT_EQ(queue.WorthCutting(400), 1);
  std::vector<std::future<std::vector<QueuedRequest>>> instances;
  for (int i = 0; i < 2; ++i) {
    instances.push_back(std::async(std::launch::async, [&] { return queue.PopBatch(); }));
  }
  while (queue.WorthCutting(400) != 2) std::this_thread::yield();
  EXPECT_EQ(queue.WorthCutting(4), 1);
  std::vector<QueuedRequest> four;
  for (int64_t i = 0; i < 4; ++i) four.push_back(Numbered(i, 100));
  ASSERT_TRUE(queue.Push(four).ok());
  for (auto& instance : instances) EXPECT_EQ(instance.get().size(), 2u);
}

TEST(RequestQueue, PiecesOfOneRequestAreTakenTogetherOrNotAtAll) {
  Queue queue(1, std::chrono::microseconds(0), 2);
  ASSERT_TRUE(queue.Push(Numbered(0)).ok());
  std::vector<QueuedRequest> pieces;
  for (int64_t i = 1; i < 4; ++i) pieces.push_back(Numbered(i));
  ASSERT_TRUE(queue.Push(pieces).ok());  // they need room for one
  std::vector<QueuedRequest> more;
  more.push_back(Numbered(9));
  EXPECT_EQ(queue.Push(more).code(), StatusCode::kUnavailable);
  EXPECT_EQ(more[0].checked.rows, 9);
  for (int64_t i = 0; i < 4; ++i) EXPECT_EQ(Numbers(queue.PopBatch()), Order{i});
}

TEST(RequestQueue, FullQueueRefusesAndLeavesTheRequestUntouched) {
  Queue queue(8, std::chrono::microseconds(0), 2);
  ASSERT_TRUE(queue.Push(Numbered(0)).ok());
  ASSERT_TRUE(queue.Push(Numbered(1)).ok());
  QueuedRequest third = Numbered(2);
  const Status status = queue.Push(std::move(third));
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_EQ(status.message(), "the queue is full: 2 requests wait; send fewer at once");
  EXPECT_EQ(third.checked.rows, 2);
  EXPECT_TRUE(third.done != nullptr);
  EXPECT_EQ(queue.size(), 2u);
  // Once there is room, the same request is taken.
  EXPECT_EQ(Numbers(queue.PopBatch()), (Order{0, 1}));
  EXPECT_TRUE(queue.Push(std::move(third)).ok());
  EXPECT_EQ(Numbers(queue.PopBatch()), (Order{2}));
}

TEST(RequestQueue, ClosedQueueRefusesAndLeavesTheRequestUntouched) {
  Queue queue(8, std::chrono::microseconds(0), 2);
  queue.Close();
  QueuedRequest late = Numbered(0);
  const Status status = queue.Push(std::move(late));
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_EQ(status.message(), "the engine is stopping; send the request elsewhere");
  EXPECT_TRUE(late.done != nullptr);
}

TEST(RequestQueue, CloseDrainsWhatWaitsThenGivesEmptyForEver) {
  Queue queue(2, kForever, 100);
  for (int64_t i = 0; i < 3; ++i) ASSERT_TRUE(queue.Push(Numbered(i)).ok());
  queue.Close();
  queue.Close();
  EXPECT_EQ(Numbers(queue.PopBatch()), (Order{0, 1}));
  EXPECT_EQ(Numbers(queue.PopBatch()), (Order{2}));
  EXPECT_TRUE(queue.PopBatch().empty());
  EXPECT_TRUE(queue.PopBatch().empty());
}

TEST(RequestQueue, FullBatchIgnoresTheDelay) {
  Queue queue(2, kForever, 100);
  ASSERT_TRUE(queue.Push(Numbered(0)).ok());
  ASSERT_TRUE(queue.Push(Numbered(1)).ok());
  EXPECT_EQ(Numbers(queue.PopBatch()), (Order{0, 1}));
}

TEST(RequestQueue, RequestThatIsDueGoes) {
  Queue queue(8, kForever, 100);
  QueuedRequest old = Numbered(0);
  old.since -= kForever;
  ASSERT_TRUE(queue.Push(std::move(old)).ok());
  EXPECT_EQ(Numbers(queue.PopBatch()), (Order{0}));
}

TEST(RequestQueue, RequestWithoutCompanyGoesWhenItIsDue) {
  constexpr std::chrono::milliseconds kDelay(2);
  Queue queue(8, kDelay, 100);
  ASSERT_TRUE(queue.Push(Numbered(0)).ok());
  const auto batch = queue.PopBatch();
  EXPECT_EQ(Numbers(batch), Order{0});
  EXPECT_GE(Clock::now() - batch.at(0).since, kDelay);
}

TEST(RequestQueue, LargeRequestRunsAlone) {
  Queue queue(2, kForever, 100);
  ASSERT_TRUE(queue.Push(Numbered(0, 1000)).ok());
  ASSERT_TRUE(queue.Push(Numbered(1, 2)).ok());
  EXPECT_EQ(Numbers(queue.PopBatch()), (Order{0}));
  EXPECT_EQ(Numbers(queue.PopBatch()), (Order{1}));
}

TEST(RequestQueue, PushWakesWhoeverWaits) {
  Queue queue(8, std::chrono::microseconds(0), 100);
  auto popped = std::async(std::launch::async, [&] { return Numbers(queue.PopBatch()); });
  ASSERT_TRUE(queue.Push(Numbered(7)).ok());
  EXPECT_EQ(popped.get(), Order{7});
}

TEST(RequestQueue, PushThatFillsTheBatchWakesWhoeverWaitsForCompany) {
  Queue queue(2, kForever, 100);
  ASSERT_TRUE(queue.Push(Numbered(0)).ok());
  auto popped = std::async(std::launch::async, [&] { return Numbers(queue.PopBatch()); });
  ASSERT_TRUE(queue.Push(Numbered(1)).ok());
  EXPECT_EQ(popped.get(), (Order{0, 1}));
}

TEST(RequestQueue, CloseWakesWhoeverWaitsForCompany) {
  Queue queue(8, kForever, 100);
  ASSERT_TRUE(queue.Push(Numbered(0)).ok());
  auto popped = std::async(std::launch::async, [&] { return Numbers(queue.PopBatch()); });
  queue.Close();
  EXPECT_EQ(popped.get(), Order{0});
}

TEST(RequestQueue, HoldingNothingBackWakesWhoeverWaitsForCompany) {
  Queue queue(8, kForever, 100);
  ASSERT_TRUE(queue.Push(Numbered(0)).ok());
  auto popped = std::async(std::launch::async, [&] { return Numbers(queue.PopBatch()); });
  queue.HoldNothingBack();
  EXPECT_EQ(popped.get(), Order{0});
}

TEST(RequestQueue, HoldingNothingBackIsForWhatComesTooAndTogetherItStillGoes) {
  Queue queue(8, kForever, 100);
  queue.HoldNothingBack();
  for (int64_t i = 0; i < 2; ++i) ASSERT_TRUE(queue.Push(Numbered(i)).ok());
  EXPECT_EQ(Numbers(queue.PopBatch()), (Order{0, 1}));
  ASSERT_TRUE(queue.Push(Numbered(2)).ok());
  EXPECT_EQ(Numbers(queue.PopBatch()), Order{2});
}

}  // namespace
}  // namespace recpile
