#include "coalesce/spread.h"

#include <gtest/gtest.h>

namespace recpile {
namespace {

// 100 us a run and 10 us a candidate.
constexpr RunCost kCost = {100'000, 10'000};

TEST(Spread, ManyCandidatesAreCutOverAllThatIdle) {
  EXPECT_EQ(Spread(400, 2, kCost, {}), 2);
  EXPECT_EQ(Spread(400, 4, kCost, {}), 4);
}

TEST(Spread, WithoutAnotherThatIdlesNothingIsCut) {
  EXPECT_EQ(Spread(400, 1, kCost, {}), 1);
  EXPECT_EQ(Spread(400, 0, kCost, {}), 1);
}

TEST(Spread, FewCandidatesAreNotWorthWakingOthers) {
  EXPECT_EQ(Spread(1, 8, kCost, {}), 1);
  EXPECT_EQ(Spread(10, 8, kCost, {}), 1);  // even two of them by themselves would save 80 us only
  EXPECT_EQ(Spread(20, 2, kCost, {}), 2);
}

TEST(Spread, NorIsCuttingFurtherThatSavesLittle) {
  // 1100 us, 600, 434 (27 % less), 350 (19 % less than that), and 300 for five.
  EXPECT_EQ(Spread(100, 5, kCost, {}), 5);  // 31 % less than three
  EXPECT_EQ(Spread(100, 4, kCost, {}), 3);
}

TEST(Spread, RunsWhoseFixedPartIsMostOfThemStayWhole) { EXPECT_EQ(Spread(100, 4, {10'000'000, 10'000}, {}), 1); }

TEST(Spread, WithoutAnEstimateNothingIsCut) { EXPECT_EQ(Spread(1000, 4, {}, {}), 1); }

TEST(Spread, PaddingCountsAsWhatItCosts) {
  // 65 candidates run as 96, halves of them as 48.
  EXPECT_EQ(Spread(65, 2, kCost, BatchSizes::UpTo(1024)), 2);
  // Of 20, run as 24, halves run as 12: 120 us saved of 340. Of 18 likewise, but of 12 they run as 6.
  EXPECT_EQ(Spread(20, 2, kCost, BatchSizes::UpTo(1024)), 2);
  EXPECT_EQ(Spread(12, 2, kCost, BatchSizes::UpTo(1024)), 1);
}

}  // namespace
}  // namespace recpile
