// RequestQueue with several threads at once: nothing is lost, doubled or left asleep.
#include <gtest/gtest.h>

#include <algorithm>
#include <future>
#include <latch>
#include <numeric>
#include <thread>

#include "numbered_queue.h"

namespace recpile {
namespace {

using testing::kForever;
using testing::Numbered;
using testing::Numbers;
using testing::Order;
using testing::Queue;

constexpr int kRounds = 200;  // of a race, none of which may be lost

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

TEST(QueueRaces, CloseWakesEverybody) {
  for (int round = 0; round < kRounds; ++round) {
    Queue queue(8, kForever, 100);
    EXPECT_EQ(PoppedBy(3, queue, [&] { queue.Close(); }), Order{});
  }
}

TEST(QueueRaces, LeftoverOfOneBatchWakesAnother) {
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

TEST(QueueRaces, TwoConsumersReceiveEveryRequestExactlyOnce) { ExpectEveryRequestOnce(Clock::duration::zero()); }

TEST(QueueRaces, TwoConsumersThatWaitForCompanyReceiveEveryRequestExactlyOnce) {
  ExpectEveryRequestOnce(std::chrono::microseconds(50));
}

}  // namespace
}  // namespace recpile
