// Lookups of bf16 rows: every level of the CPU gives the bits of a plain loop, and nothing beyond the table is read.
#include "execute/bf16_lookup.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

namespace recpile {
namespace {

constexpr CpuLevel kLevels[] = {CpuLevel::kPlain, CpuLevel::kAvx2, CpuLevel::kAvx512};

bool Runs(CpuLevel level) { return level <= BestCpuLevel(); }

float Wide(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

// The bits of values that bf16 holds exactly.
std::vector<uint16_t> Bf16(const std::vector<float>& values) {
  std::vector<uint16_t> bits;
  for (const float value : values) bits.push_back(static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16));
  return bits;
}

// A table and bags over it, which own what Bf16Bags points to. Exactly as long as they must be, for the sanitizer.
struct Lookup {
  int64_t dim = 0;
  std::vector<uint16_t> table;
  std::vector<int64_t> ids, offsets;
  std::vector<float> weights;

  int64_t rows() const { return static_cast<int64_t>(table.size()) / dim; }
  int64_t bag_count() const { return static_cast<int64_t>(offsets.size()) - 1; }
  Bf16Bags bags() const {
    return {reinterpret_cast<const std::byte*>(table.data()), rows(),     dim, ids.data(), offsets.data(),
            weights.empty() ? nullptr : weights.data(),       bag_count()};
  }
  template <typename To>
  std::vector<To> Pooled(bool mean, CpuLevel level) const {
    std::vector<To> to(static_cast<size_t>(bag_count() * dim), To{77});
    PoolBf16(bags(), mean, to.data(), dim, level);
    return to;
  }
  template <typename To>
  std::vector<To> Rows(CpuLevel level) const {
    std::vector<To> to(static_cast<size_t>((offsets.back() - offsets.front()) * dim), To{77});
    CopyBf16Rows(bags(), to.data(), level);
    return to;
  }
  // As the words of bf16_lookup.h say it.
  std::vector<float> Expected(bool mean) const {
    std::vector<float> to;
    for (size_t bag = 0; bag + 1 < offsets.size(); ++bag) {
      for (int64_t d = 0; d < dim; ++d) {
        volatile float sum = 0;  // rounded after each step
        for (auto at = static_cast<size_t>(offsets[bag]); at < static_cast<size_t>(offsets[bag + 1]); ++at) {
          if (ids[at] < 0 || ids[at] >= rows()) continue;
          volatile float term = Wide(table[static_cast<size_t>(ids[at] * dim + d)]);
          if (!weights.empty()) term = term * weights[at];
          sum = sum + term;
        }
        const auto count = static_cast<float>(offsets[bag + 1] - offsets[bag]);
        to.push_back(mean && count > 0 ? sum / count : sum);
      }
    }
    return to;
  }
};

Lookup Random(int64_t dim, bool weighted) {
  std::mt19937 random(static_cast<uint32_t>(dim));
  std::normal_distribution<float> normal;
  Lookup made{dim, {}, {}, {0}, {}};
  for (int64_t i = 0; i < 11 * dim; ++i) {
    made.table.push_back(static_cast<uint16_t>(std::bit_cast<uint32_t>(normal(random)) >> 16));
  }
  for (const int64_t size : {1, 0, 4, 3, 9, 0, 2, 40}) {
    for (int64_t i = 0; i < size; ++i) {
      made.ids.push_back(static_cast<int64_t>(random() % 13) - 1);  // -1 and 11 are not in the table
      if (weighted) made.weights.push_back(normal(random));
    }
    made.offsets.push_back(static_cast<int64_t>(made.ids.size()));
  }
  return made;
}

TEST(Bf16Lookup, BagIsTheSumOfItsRows) {
  const Lookup lookup{2, Bf16({1, 10, 2, 20, 3, 30}), {0, 2, 1}, {0, 2, 2, 3}, {}};
  EXPECT_EQ(lookup.Pooled<float>(false, BestCpuLevel()), (std::vector<float>{4, 40, 0, 0, 2, 20}));
  EXPECT_EQ(lookup.Pooled<float>(true, BestCpuLevel()), (std::vector<float>{2, 20, 0, 0, 2, 20}));
  EXPECT_EQ(lookup.Pooled<uint16_t>(false, BestCpuLevel()), Bf16({4, 40, 0, 0, 2, 20}));
}

TEST(Bf16Lookup, WeightsMultiplyRowsBeforeTheyAreAdded) {
  const Lookup lookup{2, Bf16({1, 10, 2, 20, 3, 30}), {0, 2, 2}, {0, 1, 3}, {0.5, 2, -1}};
  EXPECT_EQ(lookup.Pooled<float>(false, BestCpuLevel()), (std::vector<float>{0.5, 5, 3, 30}));
}

TEST(Bf16Lookup, ProductIsRoundedBeforeItIsAdded) {
  // Times the row the weight has 31 bits: a fused multiply-add would leave those that fp32 drops.
  const float weight = 1 + std::ldexp(1.0F, -23);
  const std::vector<float> row(40, 1 + std::ldexp(1.0F, -7));
  const Lookup one{40, Bf16(row), {0, 0}, {0, 2}, {weight, -weight}};
  const Lookup four{40, Bf16(row), {0, 0, 0, 0}, {0, 4}, {weight, -weight, weight, -weight}};
  for (const CpuLevel level : kLevels) {
    if (!Runs(level)) continue;
    EXPECT_EQ(one.Pooled<float>(false, level), std::vector<float>(40, 0));
    EXPECT_EQ(four.Pooled<float>(false, level), std::vector<float>(40, 0));
  }
}

TEST(Bf16Lookup, EveryLevelGivesTheBitsOfAPlainLoop) {
  for (const int64_t dim : {1, 3, 8, 17, 64, 128, 130, 513, 1100}) {
    for (const bool weighted : {false, true}) {
      const Lookup lookup = Random(dim, weighted);
      for (const CpuLevel level : kLevels) {
        if (!Runs(level)) continue;
        for (const bool mean : {false, true}) {
          const std::vector<float> wanted = lookup.Expected(mean), got = lookup.Pooled<float>(mean, level);
          EXPECT_EQ(std::memcmp(wanted.data(), got.data(), wanted.size() * sizeof(float)), 0)
              << "dim " << dim << " weighted " << weighted << " mean " << mean << " level " << static_cast<int>(level);
        }
      }
    }
  }
}

TEST(Bf16Lookup, Bf16ResultsAreTheSumsRoundedToNearestEven) {
  // 1 + 2^-8 lies in the middle of two: the even one is 1. 1 + 3 * 2^-8 likewise: the even one is 1 + 2^-6.
  const std::vector<float> steps = {1, 1, std::ldexp(1.0F, -8), 3 * std::ldexp(1.0F, -8)};
  const Lookup lookup{2, Bf16(steps), {0, 1}, {0, 2}, {}};
  EXPECT_EQ(lookup.Pooled<uint16_t>(false, BestCpuLevel()), Bf16({1, 1 + std::ldexp(1.0F, -6)}));
  for (const int64_t dim : {1, 17, 128, 513, 1100}) {
    const Lookup random = Random(dim, true);
    const auto plain = random.Pooled<uint16_t>(true, CpuLevel::kPlain);
    const auto sums = random.Expected(true);
    for (size_t i = 0; i < plain.size(); ++i) EXPECT_NEAR(Wide(plain[i]), sums[i], std::abs(sums[i]) / 256);
    for (const CpuLevel level : kLevels) {
      if (!Runs(level)) continue;
      EXPECT_EQ(plain, random.Pooled<uint16_t>(true, level));
    }
  }
}

TEST(Bf16Lookup, ResultsThatAreNotNumbersStayThat) {
  const float infinity = std::numeric_limits<float>::infinity();
  const Lookup lookup{1, Bf16({1, 2}), {0, 0, 1}, {0, 1, 2, 3}, {std::nanf("0x7fffff"), infinity, -infinity}};
  const auto got = lookup.Pooled<uint16_t>(false, BestCpuLevel());
  EXPECT_TRUE(std::isnan(Wide(got[0])));
  EXPECT_EQ(Wide(got[1]), infinity);
  EXPECT_EQ(Wide(got[2]), -infinity);
}

TEST(Bf16Lookup, IdsThatTheTableLacksAreZerosAndAMeanCountsThem) {
  constexpr int64_t kLargest = std::numeric_limits<int64_t>::max(), kSmallest = std::numeric_limits<int64_t>::min();
  const Lookup lookup{1, Bf16({2, 4}), {-1, 1, 2, 0, kLargest, kSmallest}, {0, 4, 6}, {}};
  for (const CpuLevel level : kLevels) {
    if (!Runs(level)) continue;
    EXPECT_EQ(lookup.Pooled<float>(false, level), (std::vector<float>{6, 0}));
    EXPECT_EQ(lookup.Pooled<float>(true, level), (std::vector<float>{1.5, 0}));
    EXPECT_EQ(lookup.Rows<float>(level), (std::vector<float>{0, 4, 0, 2, 0, 0}));
    EXPECT_EQ(lookup.Rows<uint16_t>(level), Bf16({0, 4, 0, 2, 0, 0}));
  }
}

TEST(Bf16Lookup, OtherColumnsOfAResultAreLeftAsTheyAre) {
  const Lookup lookup{2, Bf16({1, 2, 3, 4}), {0, 1}, {0, 1, 2}, {}};
  std::vector<float> wide(10, -1);
  PoolBf16(lookup.bags(), false, wide.data() + 1, 5);
  EXPECT_EQ(wide, (std::vector<float>{-1, 1, 2, -1, -1, -1, 3, 4, -1, -1}));
}

TEST(Bf16Lookup, RowsMayLieAtAnOddAddress) {
  const Lookup lookup{3, Bf16({1, 2, 3, 4, 5, 6}), {1, 0}, {0, 2}, {}};
  std::vector<std::byte> shifted(1 + lookup.table.size() * 2);
  std::memcpy(shifted.data() + 1, lookup.table.data(), lookup.table.size() * 2);
  Bf16Bags bags = lookup.bags();
  bags.rows = shifted.data() + 1;
  std::vector<float> sums(3);
  PoolBf16(bags, false, sums.data(), 3);
  EXPECT_EQ(sums, (std::vector<float>{5, 7, 9}));
}

TEST(Bf16Lookup, FeaturesMayStandAnywhereAmongTheIds) {
  const Lookup lookup{1, Bf16({1, 2, 4}), {9, 9, 2, 1, 0, 9}, {2, 4, 5}, {}};
  EXPECT_EQ(lookup.Pooled<float>(false, BestCpuLevel()), (std::vector<float>{6, 1}));
  EXPECT_EQ(lookup.Rows<float>(BestCpuLevel()), (std::vector<float>{4, 2, 1}));
}

}  // namespace
}  // namespace recpile
