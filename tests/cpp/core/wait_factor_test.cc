#include "engine/wait_factor.h"

#include <gtest/gtest.h>

namespace recpile {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Clock::time_point kNow = Clock::time_point(std::chrono::hours(100));

// After many requests for which 10 ms were foreseen waited these times in turn.
WaitFactor AfterWaits(std::initializer_list<int> waited_ms) {
  WaitFactor factor;
  for (int i = 0; i < 100; ++i) {
    for (const int waited : waited_ms) factor.Learn(milliseconds(waited), milliseconds(10), kNow);
  }
  return factor;
}

TEST(WaitFactor, IsOneBeforeAnythingIsKnown) { EXPECT_EQ(WaitFactor().At(kNow), 1); }

TEST(WaitFactor, FollowsWaitsThatAreAlwaysSoMuchLonger) { EXPECT_NEAR(AfterWaits({20}).At(kNow), 2, 0.01); }

TEST(WaitFactor, IsNeverLessThanWhatWasForeseen) { EXPECT_EQ(AfterWaits({2}).At(kNow), 1); }

TEST(WaitFactor, WaitsThatSpreadNeedMoreReserveThanTheirMean) {
  // 15 ms at the mean and 5 ms beyond or below: 1.5 + 2 * 0.5.
  EXPECT_NEAR(AfterWaits({10, 20}).At(kNow), 2.5, 0.15);
}

TEST(WaitFactor, OneStallCountsForAWhileOnly) {
  WaitFactor factor = AfterWaits({10});
  factor.Learn(seconds(10), milliseconds(10), kNow);
  EXPECT_GT(factor.At(kNow), 1.5);
  EXPECT_LE(factor.At(kNow), 4);
  for (int i = 0; i < 50; ++i) factor.Learn(milliseconds(10), milliseconds(10), kNow);
  EXPECT_LT(factor.At(kNow), 1.1);
}

TEST(WaitFactor, ShortWaitsTeachNothing) {
  WaitFactor factor;
  for (int i = 0; i < 100; ++i) factor.Learn(milliseconds(50), std::chrono::microseconds(900), kNow);
  EXPECT_EQ(factor.At(kNow), 1);
}

TEST(WaitFactor, IsForgottenWhenNothingIsLearned) {
  const WaitFactor factor = AfterWaits({30});
  EXPECT_NEAR(factor.At(kNow), 3, 0.01);
  EXPECT_NEAR(factor.At(kNow + seconds(1)), 2, 0.01);
  EXPECT_NEAR(factor.At(kNow + seconds(20)), 1, 0.01);
}

}  // namespace
}  // namespace recpile
