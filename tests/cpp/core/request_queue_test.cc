#include "engine/request_queue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <future>
#include <latch>
#include <numeric>
#include <thread>

namespace recpile {
namespace {

constexpr auto kForever = std::chrono::hours(1);
constexpr int kRounds = 200;  // of a race, none of which may be lost

// A request that can be told from others, of `rows` candidates.
QueuedRequest Numbered(int64_t number, int64_t rows = 1) {
  QueuedRequest request;
  request.checked.rows = number;
  request.done = [](InferResult) {};
  request.rows = rows;
  request.since = Clock::now();
  return request;
}

std::vector<int64_t> Numbers(const std::vector<QueuedRequest>& requests) {
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
  // 10 us a candidate.
  queue.Seed(1, std::chrono::microseconds(10));
  queue.Seed(400, std::chrono::microseconds(4000));
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

// What `consumers` threads pop, one batch each, when they start before `feed` runs. Whether they already sleep by then
// is the scheduler's choice: over many rounds, some do.
template <typename Feed>
Order PoppedBy(int consumers, RequestQueue& queue, Feed feed) {
  std::latch started(consumers + 1);
  std::vector<std::future<Order>> popping;
  for (int i = 0; i < consumers; ++i) {
    popping.push_back(std::async(std::launch::async, [&] {
      started.arrive_and_wait();
      return Numbers(queue.PopBatch());
    }));
  }
  started.arrive_and_wait();
  for (int i = 0; i < 20; ++i) std::this_thread::yield();
  feed();
  Order all;
  for (auto& one : popping) {
    const Order mine = one.get();
    all.insert(all.end(), mine.begin(), mine.end());
  }
  std::sort(all.begin(), all.end());
  return all;
}

TEST(RequestQueue, CloseWakesEverybody) {
  for (int round = 0; round < kRounds; ++round) {
    Queue queue(8, kForever, 100);
    EXPECT_EQ(PoppedBy(3, queue, [&] { queue.Close(); }), Order{});
  }
}

TEST(RequestQueue, LeftoverOfOneBatchWakesAnother) {
  for (int round = 0; round < kRounds; ++round) {
    Queue queue(2, kForever, 100);
    const auto feed = [&] {
      EXPECT_TRUE(queue.Push(Numbered(0, 1)).ok());
      // Sends the first one on its way, and fills a batch of its own: one wake-up for two consumers.
      EXPECT_TRUE(queue.Push(Numbered(1, 2)).ok());
    };
    EXPECT_EQ(PoppedBy(2, queue, feed), (Order{0, 1}));
  }
}

// Two consumers and two producers, with and without a delay: every request comes out exactly once, in the order of its
// producer within each consumer, and no batch is too large.
void ExpectEveryRequestOnce(Clock::duration delay) {
  constexpr int64_t kEach = 3000, kMost = 5;
  Queue queue(kMost, delay, 2 * kEach);
  const auto consume = [&] {
    Order mine;
    while (true) {
      const auto batch = queue.PopBatch();
      if (batch.empty()) return mine;
      EXPECT_LE(batch.size(), static_cast<size_t>(kMost));
      for (const int64_t number : Numbers(batch)) mine.push_back(number);
    }
  };
  const auto produce = [&](int64_t first) {
    for (int64_t i = first; i < first + kEach; ++i) EXPECT_TRUE(queue.Push(Numbered(i)).ok());
  };
  auto one = std::async(std::launch::async, consume);
  auto two = std::async(std::launch::async, consume);
  std::thread even([&] { produce(0); }), odd([&] { produce(kEach); });
  even.join();
  odd.join();
  queue.Close();
  Order all;
  for (auto* part : {&one, &two}) {
    const Order mine = part->get();
    for (const bool upper : {false, true}) {
      Order from;
      std::copy_if(mine.begin(), mine.end(), std::back_inserter(from),
                   [&](int64_t n) { return (n >= kEach) == upper; });
      EXPECT_TRUE(std::is_sorted(from.begin(), from.end()));
    }
    all.insert(all.end(), mine.begin(), mine.end());
  }
  std::sort(all.begin(), all.end());
  Order wanted(2 * kEach);
  std::iota(wanted.begin(), wanted.end(), 0);
  EXPECT_EQ(all, wanted);
}

TEST(RequestQueue, TwoConsumersReceiveEveryRequestExactlyOnce) { ExpectEveryRequestOnce(Clock::duration::zero()); }

TEST(RequestQueue, TwoConsumersThatWaitForCompanyReceiveEveryRequestExactlyOnce) {
  ExpectEveryRequestOnce(std::chrono::microseconds(50));
}

}  // namespace
}  // namespace recpile
