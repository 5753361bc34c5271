#include "coalesce/run_cost.h"

#include <gtest/gtest.h>

#include <limits>

namespace recpile {
namespace {

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::seconds;

constexpr Clock::time_point kStart = {};

// 100 us a run and 2 us a candidate, told by runs of several sizes.
RunCostModel Told() {
  RunCostModel model;
  for (const int64_t rows : {1, 10, 300, 40}) model.Measured(rows, microseconds(100 + 2 * rows), kStart);
  return model;
}

TEST(RunCost, NothingIsKnownBeforeTheFirstRun) { EXPECT_EQ(RunCostModel().At(kStart).Of(1000), Clock::duration(0)); }

TEST(RunCost, FixedPartAndPartOfEachCandidateAreFound) {
  const RunCost cost = Told().At(kStart);
  EXPECT_NEAR(cost.fixed_ns, 100'000, 1);
  EXPECT_NEAR(cost.row_ns, 2'000, 0.1);
  EXPECT_NEAR(static_cast<double>(cost.Of(500).count()), 1'100'000, 10);
}

TEST(RunCost, SeedsTellWhatACandidateCostsWhenAllRunsAreOfOneSize) {
  RunCostModel model;
  model.Seed(1, microseconds(102), kStart);
  model.Seed(256, microseconds(612), kStart);
  EXPECT_NEAR(model.At(kStart).row_ns, 2'000, 1);
  // With ids in their bags candidates cost twice as much.
  for (int i = 0; i < 1000; ++i) model.Measured(200, microseconds(100 + 4 * 200), kStart);
  const RunCost cost = model.At(kStart);
  EXPECT_NEAR(static_cast<double>(cost.Of(200).count()), 900'000, 20'000);
  EXPECT_LT(cost.Of(100), microseconds(700));
}

TEST(RunCost, RowsWithinATimeAreThoseWhoseRunFitsIt) {
  const RunCost cost = {100'000, 2'000};
  EXPECT_EQ(cost.RowsWithin(microseconds(120), 1000), 10);
  EXPECT_EQ(cost.RowsWithin(microseconds(121), 1000), 10);
  EXPECT_EQ(cost.RowsWithin(microseconds(120), 7), 7);
  EXPECT_EQ(cost.RowsWithin(microseconds(99), 7), 0);
  EXPECT_EQ(cost.RowsWithin(microseconds(-1), 7), 0);
}

TEST(RunCost, WhereACandidateCostsNothingAllFitOrNone) {
  EXPECT_EQ((RunCost{100'000, 0}).RowsWithin(microseconds(100), 1000), 1000);
  EXPECT_EQ((RunCost{100'000, 0}).RowsWithin(microseconds(99), 1000), 0);
  EXPECT_EQ(RunCost().RowsWithin(microseconds(0), 1000), 1000);
}

TEST(RunCost, ManyRunsCostTheirFixedPartsEach) {
  const RunCost cost = {100'000, 2'000};
  EXPECT_EQ(cost.OfAll(20, 10), microseconds(240));
  EXPECT_EQ(cost.OfAll(21, 10), microseconds(342));
  EXPECT_EQ(cost.OfAll(0, 10), microseconds(0));
}

TEST(RunCost, RunsOfOneSizeTellWhatThatSizeCosts) {
  RunCostModel model;
  for (int i = 0; i < 5; ++i) model.Measured(64, microseconds(200), kStart);
  EXPECT_NEAR(static_cast<double>(model.At(kStart).Of(64).count()), 200'000, 10);
}

TEST(RunCost, RecentRunsCountMore) {
  RunCostModel model = Told();
  for (int i = 0; i < 100; ++i) model.Measured(10, microseconds(1000), kStart);
  EXPECT_NEAR(static_cast<double>(model.At(kStart).Of(10).count()), 1'000'000, 20'000);
}

TEST(RunCost, SmallerRunsThatTookLongerDoNotMakeCandidatesCheaperThanNothing) {
  RunCostModel model;
  model.Measured(1, microseconds(900), kStart);
  model.Measured(100, microseconds(100), kStart);
  const RunCost cost = model.At(kStart);
  EXPECT_GE(cost.row_ns, 0);
  EXPECT_GE(cost.fixed_ns, 0);
}

TEST(RunCost, FadesWhileNothingRuns) {
  const RunCostModel model = Told();
  EXPECT_NEAR(static_cast<double>(model.At(kStart + seconds(1)).Of(100).count()), 150'000, 10);
  EXPECT_EQ(model.At(kStart + hours(1)).Of(100), Clock::duration(0));
  EXPECT_NEAR(static_cast<double>(model.At(kStart - seconds(1)).Of(100).count()), 300'000, 10);
}

TEST(RunCost, HugeRunsDoNotOverflow) {
  const RunCost cost = {1e9, 1e9};
  EXPECT_EQ(cost.Of(std::numeric_limits<int64_t>::max()), hours(1));
}

}  // namespace
}  // namespace recpile
