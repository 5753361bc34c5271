#include "engine/counters.h"

#include <gtest/gtest.h>

#include <limits>

namespace recpile {
namespace {

using std::chrono::nanoseconds;

// The bucket that a value falls into.
template <typename T>
size_t BucketOf(T value) {
  HistogramCounter counter;
  counter.Add(value);
  const Histogram histogram = counter.Read();
  EXPECT_EQ(histogram.count(), 1u);
  return static_cast<size_t>(std::find(histogram.counts.begin(), histogram.counts.end(), 1u) -
                             histogram.counts.begin());
}

TEST(Histogram, BucketsEndAtPowersOfTwo) {
  EXPECT_EQ(BucketOf(int64_t{0}), 0u);
  EXPECT_EQ(BucketOf(int64_t{1}), 0u);
  EXPECT_EQ(BucketOf(int64_t{2}), 1u);
  EXPECT_EQ(BucketOf(int64_t{3}), 2u);
  EXPECT_EQ(BucketOf(int64_t{4}), 2u);
  EXPECT_EQ(BucketOf(int64_t{1024}), 10u);
  EXPECT_EQ(BucketOf(int64_t{1025}), 11u);
}

TEST(Histogram, LastBucketHoldsWhateverIsLarger) {
  EXPECT_EQ(BucketOf(int64_t{1} << 23), 23u);
  EXPECT_EQ(BucketOf((int64_t{1} << 23) + 1), 24u);
  EXPECT_EQ(BucketOf(std::numeric_limits<int64_t>::max()), 24u);
}

TEST(Histogram, TimesAreCountedInWholeMicrosecondsAndSummedAsTheyAre) {
  EXPECT_EQ(BucketOf(nanoseconds(900)), 0u);
  EXPECT_EQ(BucketOf(nanoseconds(1200)), 1u);
  HistogramCounter counter;
  counter.Add(nanoseconds(900));
  counter.Add(nanoseconds(1200));
  EXPECT_DOUBLE_EQ(counter.ReadMicroseconds().sum, 2.1);
}

TEST(ReadStats, EveryStageAndTableHasItsName) {
  Counters counters(2, 2);
  counters.stages[1].Add(nanoseconds(5000));
  ++counters.requests_shed;
  counters.tables[1].lookups += 7;
  ++counters.tables[1].out_of_range;
  const EngineStats stats =
      ReadStats(counters, {.stages = {{"bags", "embedding"}, {"dense", "compiled"}}, .tables = {{"user"}, {"item"}}});
  ASSERT_EQ(stats.stages.size(), 2u);
  EXPECT_EQ(stats.stages[1].name, "dense");
  EXPECT_EQ(stats.stages[1].kind, "compiled");
  EXPECT_EQ(stats.stages[1].duration_us.count(), 1u);
  EXPECT_EQ(stats.stages[0].duration_us.count(), 0u);
  EXPECT_EQ(stats.requests_shed, 1u);
  ASSERT_EQ(stats.tables.size(), 2u);
  EXPECT_EQ(stats.tables[0].lookups, 0u);
  EXPECT_EQ(stats.tables[1].name, "item");
  EXPECT_EQ(stats.tables[1].lookups, 7u);
  EXPECT_EQ(stats.tables[1].out_of_range, 1u);
}

}  // namespace
}  // namespace recpile
