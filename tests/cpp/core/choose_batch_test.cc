#include "coalesce/choose_batch.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <vector>

namespace recpile {
namespace {

constexpr int64_t kHuge = std::numeric_limits<int64_t>::max();

struct Waiting {
  int64_t rows;
  Clock::time_point since;
  Clock::time_point deadline = kNever;
  bool left = false;
  bool partial = false;

  int64_t least_rows() const { return partial ? 1 : rows; }
  bool gone() const { return left; }
};
using Queue = std::vector<Waiting>;

Clock::time_point At(int64_t microseconds) { return Clock::time_point(std::chrono::microseconds(microseconds)); }

// At most 8 candidates a batch; requests wait up to 100 us.
BatchOptions Patient() { return {8, std::chrono::microseconds(100)}; }
BatchOptions Eager() { return {8, std::chrono::microseconds(0)}; }

TEST(ChooseBatch, EmptyQueueGivesNothingToDoAndNoTimeToWake) {
  const BatchChoice choice = ChooseBatch(Queue{}, At(0), Patient());
  EXPECT_EQ(choice.take, 0u);
  EXPECT_FALSE(choice.wake);
}

TEST(ChooseBatch, WithoutDelayOneRequestGoesAtOnce) {
  EXPECT_EQ(ChooseBatch(Queue{{1, At(50)}}, At(50), Eager()).take, 1u);
}

TEST(ChooseBatch, WithoutDelayEverythingThatFitsGoes) {
  EXPECT_EQ(ChooseBatch(Queue{{1, At(0)}, {2, At(1)}, {3, At(2)}}, At(2), Eager()).take, 3u);
}

TEST(ChooseBatch, TakesInOrderUpToTheMaximum) {
  EXPECT_EQ(ChooseBatch(Queue{{3, At(0)}, {4, At(0)}, {2, At(0)}}, At(0), Eager()).take, 2u);
  EXPECT_EQ(ChooseBatch(Queue{{3, At(0)}, {5, At(0)}, {1, At(0)}}, At(0), Eager()).take, 2u);
}

TEST(ChooseBatch, DoesNotOvertakeARequestThatDoesNotFit) {
  // The third one would fit, but the second is before it.
  EXPECT_EQ(ChooseBatch(Queue{{3, At(0)}, {6, At(0)}, {1, At(0)}}, At(0), Eager()).take, 1u);
}

TEST(ChooseBatch, RequestAboveTheMaximumRunsAlone) {
  EXPECT_EQ(ChooseBatch(Queue{{9, At(0)}}, At(0), Patient()).take, 1u);
  EXPECT_EQ(ChooseBatch(Queue{{9, At(0)}, {1, At(0)}}, At(0), Patient()).take, 1u);
  EXPECT_EQ(ChooseBatch(Queue{{1, At(0)}, {9, At(0)}}, At(0), Patient()).take, 1u);
}

TEST(ChooseBatch, RequestsThatNobodyWaitsForAreNamedAndNotTaken) {
  const BatchChoice choice =
      ChooseBatch(Queue{{1, At(0)}, {2, At(0), kNever, true}, {1, At(0)}, {8, At(0), kNever, true}}, At(0), Eager());
  EXPECT_EQ(choice.take, 0u);
  EXPECT_EQ(choice.late, (std::vector<size_t>{1, 3}));
}

TEST(ChooseBatch, FullBatchDoesNotWait) {
  EXPECT_EQ(ChooseBatch(Queue{{8, At(0)}}, At(0), Patient()).take, 1u);
  EXPECT_EQ(ChooseBatch(Queue{{4, At(0)}, {4, At(0)}}, At(0), Patient()).take, 2u);
}

TEST(ChooseBatch, BatchThatCannotGrowDoesNotWait) {
  // 7 of 8, but the next request does not fit, and nothing may overtake it.
  EXPECT_EQ(ChooseBatch(Queue{{7, At(0)}, {2, At(0)}}, At(0), Patient()).take, 1u);
}

TEST(ChooseBatch, WaitsUntilTheOldestIsDueAndSaysWhen) {
  const BatchChoice choice = ChooseBatch(Queue{{1, At(10)}, {1, At(60)}}, At(70), Patient());
  EXPECT_EQ(choice.take, 0u);
  ASSERT_TRUE(choice.wake);
  EXPECT_EQ(*choice.wake, At(110));
}

TEST(ChooseBatch, GoesWhenTheOldestIsDue) {
  const Queue queue = {{1, At(10)}, {1, At(60)}};
  EXPECT_EQ(ChooseBatch(queue, At(109), Patient()).take, 0u);
  EXPECT_EQ(ChooseBatch(queue, At(110), Patient()).take, 2u);
  EXPECT_EQ(ChooseBatch(queue, At(5000), Patient()).take, 2u);
}

TEST(ChooseBatch, AsksForNoWakeUpWhenItTakes) { EXPECT_FALSE(ChooseBatch(Queue{{1, At(0)}}, At(100), Patient()).wake); }

TEST(ChooseBatch, HugeRequestsDoNotOverflow) {
  EXPECT_EQ(ChooseBatch(Queue{{kHuge, At(0)}, {kHuge, At(0)}}, At(0), Eager()).take, 1u);
  EXPECT_EQ(ChooseBatch(Queue{{1, At(0)}, {kHuge, At(0)}}, At(0), Eager()).take, 1u);
  EXPECT_EQ(ChooseBatch(Queue{{kHuge, At(0)}, {1, At(0)}}, At(0), Eager()).take, 1u);
}

TEST(ChooseBatch, HugeMaximumDoesNotOverflow) {
  const BatchOptions endless = {kHuge, std::chrono::microseconds(0)};
  EXPECT_EQ(ChooseBatch(Queue{{kHuge - 1, At(0)}, {1, At(0)}}, At(0), endless).take, 2u);
  EXPECT_EQ(ChooseBatch(Queue{{kHuge - 1, At(0)}, {2, At(0)}}, At(0), endless).take, 1u);
  EXPECT_EQ(ChooseBatch(Queue{{kHuge, At(0)}, {kHuge, At(0)}}, At(0), endless).take, 1u);
}

TEST(ChooseBatch, SumNeverExceedsTheMaximumUnlessAlone) {
  std::mt19937 random(3);
  for (int round = 0; round < 5000; ++round) {
    Queue queue(random() % 6);
    for (Waiting& request : queue)
      request = {static_cast<int64_t>(1 + random() % 10), At(static_cast<int64_t>(random() % 200)), kNever};
    const auto now = At(200);
    const BatchChoice choice = ChooseBatch(queue, now, random() % 2 == 0 ? Patient() : Eager());
    ASSERT_LE(choice.take, queue.size());
    int64_t rows = 0;
    for (size_t i = 0; i < choice.take; ++i) rows += queue[i].rows;
    EXPECT_TRUE(rows <= 8 || choice.take == 1);
    if (choice.take > 0) {
      // It took all that fits.
      EXPECT_TRUE(choice.take == queue.size() || rows + queue[choice.take].rows > 8);
    } else {
      EXPECT_EQ(choice.wake.has_value(), !queue.empty());
      EXPECT_GT(choice.wake.value_or(Clock::time_point::max()), now);
    }
  }
}

// Runs take 10 us and 1 us a candidate.
constexpr RunCost kCost = {10'000, 1'000};

using Places = std::vector<size_t>;

TEST(ChooseBatch, RequestWhoseTimeIsOverIsLate) {
  const Queue queue = {{1, At(0), At(50)}};
  EXPECT_EQ(ChooseBatch(queue, At(50), Eager()).take, 1u);
  const BatchChoice choice = ChooseBatch(queue, At(51), Eager());
  EXPECT_EQ(choice.take, 0u);
  EXPECT_EQ(choice.late, Places{0});
}

TEST(ChooseBatch, RequestThatWouldNotBeDoneInTimeIsLate) {
  // 2 candidates take 12 us.
  const Queue queue = {{2, At(0), At(50)}};
  EXPECT_EQ(ChooseBatch(queue, At(38), Eager(), kCost).take, 1u);
  EXPECT_EQ(ChooseBatch(queue, At(39), Eager(), kCost).late, Places{0});
}

TEST(ChooseBatch, EveryLateOneOnTheWayIsFoundAndNothingTakenMeanwhile) {
  const Queue queue = {{1, At(0), At(5)}, {1, At(0)}, {1, At(0), At(6)}, {7, At(0)}, {1, At(0), At(5)}};
  const BatchChoice choice = ChooseBatch(queue, At(10), Eager());
  EXPECT_EQ(choice.take, 0u);
  EXPECT_EQ(choice.late, (Places{0, 2}));  // the batch is full before the last
  EXPECT_FALSE(choice.wake);
}

TEST(ChooseBatch, DoesNotGrowUntilOneOfItsRequestsWouldBeLate) {
  // Together 10 + 2 + 3 us, and a quarter in reserve: 18.75.
  EXPECT_EQ(ChooseBatch(Queue{{2, At(0), At(19)}, {3, At(0)}}, At(0), Eager(), kCost).take, 2u);
  EXPECT_EQ(ChooseBatch(Queue{{2, At(0), At(18)}, {3, At(0)}}, At(0), Eager(), kCost).take, 1u);
  EXPECT_EQ(ChooseBatch(Queue{{2, At(0)}, {3, At(0), At(18)}}, At(0), Eager(), kCost).take, 1u);
}

TEST(ChooseBatch, RequestThatAllowsItRunsWithTheCandidatesThatFit) {
  // All 8 take 18 us; of the 15 us that are left, 12 are for 2 candidates and 3 a reserve.
  const Queue queue = {{8, At(0), At(50), false, /*partial=*/true}, {1, At(0)}};
  const BatchChoice choice = ChooseBatch(queue, At(35), Eager(), kCost);
  EXPECT_EQ(choice.take, 1u);
  EXPECT_EQ(choice.first_rows, 2);
  EXPECT_EQ(ChooseBatch(queue, At(32), Eager(), kCost).first_rows, 8);
  EXPECT_EQ(ChooseBatch(queue, At(39), Eager(), kCost).first_rows, 1);
  EXPECT_EQ(ChooseBatch(queue, At(40), Eager(), kCost).late, Places{0});
}

TEST(ChooseBatch, BehindAnotherItWaitsForARunOfItsOwn) {
  const Queue queue = {{2, At(0)}, {4, At(0), At(15), false, /*partial=*/true}};
  const BatchChoice choice = ChooseBatch(queue, At(0), Eager(), kCost);
  EXPECT_EQ(choice.take, 1u);
  EXPECT_EQ(choice.first_rows, 2);
}

TEST(ChooseBatch, WaitsForCompanyNoLongerThanHalfOfARequestsTime) {
  const Queue queue = {{1, At(0)}, {1, At(10), At(50)}};
  EXPECT_EQ(ChooseBatch(queue, At(20), Patient()).wake, At(30));
  EXPECT_EQ(ChooseBatch(queue, At(30), Patient()).take, 2u);
}

// Preferably batches of 4 or 6.
BatchOptions Choosy() { return {8, std::chrono::microseconds(100), {4, 6}}; }

TEST(ChooseBatch, PreferredSizeDoesNotWait) {
  EXPECT_EQ(ChooseBatch(Queue{{1, At(0)}, {3, At(0)}}, At(0), Choosy()).take, 2u);
  EXPECT_EQ(ChooseBatch(Queue{{1, At(0)}, {2, At(0)}}, At(0), Choosy()).take, 0u);
}

TEST(ChooseBatch, LargestPreferredSizeThatCanBeMadeIsTaken) {
  EXPECT_EQ(ChooseBatch(Queue{{4, At(0)}, {2, At(0)}, {1, At(0)}}, At(0), Choosy()).take, 2u);
  EXPECT_EQ(ChooseBatch(Queue{{4, At(0)}, {3, At(0)}}, At(0), Choosy()).take, 1u);
}

TEST(ChooseBatch, WithoutAPreferredSizeEverythingGoesWhenItIsDue) {
  const Queue queue = {{3, At(0)}, {2, At(0)}};
  EXPECT_EQ(ChooseBatch(queue, At(99), Choosy()).wake, At(100));
  EXPECT_EQ(ChooseBatch(queue, At(100), Choosy()).take, 2u);
}

}  // namespace
}  // namespace recpile
