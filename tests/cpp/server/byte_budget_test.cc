#include "serving/byte_budget.h"

#include <gtest/gtest.h>

#include <optional>
#include <thread>
#include <vector>

namespace recpile::serving {
namespace {

TEST(ByteBudget, SharesGrowAsFarAsThereIsRoom) {
  ByteBudget budget(10);
  ByteBudget::Share first(&budget), second(&budget);
  EXPECT_TRUE(first.GrowTo(4));
  EXPECT_TRUE(first.GrowTo(7));
  EXPECT_FALSE(second.GrowTo(4));
  EXPECT_EQ(budget.held(), 7u);
  EXPECT_TRUE(second.GrowTo(3));
  EXPECT_EQ(budget.held(), 10u);
}

TEST(ByteBudget, ARefusedShareKeepsWhatItHad) {
  ByteBudget budget(10);
  ByteBudget::Share share(&budget);
  EXPECT_TRUE(share.GrowTo(6));
  EXPECT_FALSE(share.GrowTo(11));
  EXPECT_EQ(budget.held(), 6u);
  EXPECT_TRUE(share.GrowTo(10));
}

TEST(ByteBudget, WhatAShareHoldsIsGivenBackOnce) {
  ByteBudget budget(10);
  {
    std::optional<ByteBudget::Share> share(&budget);
    EXPECT_TRUE(share->GrowTo(10));
    ByteBudget::Share moved = std::move(*share);
    share.reset();
    EXPECT_EQ(budget.held(), 10u);
    ByteBudget::Share other(&budget);
    other = std::move(moved);
    EXPECT_EQ(budget.held(), 10u);
  }
  EXPECT_EQ(budget.held(), 0u);
}

TEST(ByteBudget, WithoutABudgetThereIsNoLimit) {
  EXPECT_TRUE(ByteBudget::Share().GrowTo(uint64_t{1} << 60));
  EXPECT_TRUE(ByteBudget::Share(nullptr).GrowTo(uint64_t{1} << 60));
}

TEST(ByteBudget, SharesOfManyThreadsNeverExceedIt) {
  ByteBudget budget(5);
  std::atomic<int> holding = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 10'000; ++round) {
        ByteBudget::Share share(&budget);
        if (!share.GrowTo(2)) continue;
        EXPECT_LE(++holding, 2);
        --holding;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(budget.held(), 0u);
}

}  // namespace
}  // namespace recpile::serving
