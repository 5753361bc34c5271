#include "engine/urgency.h"

#include <gtest/gtest.h>

#include <limits>

namespace recpile {
namespace {

constexpr Clock::time_point kNow = Clock::time_point(std::chrono::hours(100));

Urgency Of(uint64_t priority, int64_t timeout, const EngineOptions& options) {
  InferRequest request;
  request.priority = priority;
  request.timeout_microseconds = timeout;
  const auto urgency = UrgencyOf(request, options, kNow);
  EXPECT_TRUE(urgency.ok());
  return urgency.ok() ? urgency.value() : Urgency{};
}

TEST(Urgency, WithoutOptionsAllRequestsAreEqualAndHaveNoDeadline) {
  for (const uint64_t priority : {0, 1, 7}) EXPECT_EQ(Of(priority, 0, {}).level, 0u);
  EXPECT_EQ(Of(0, 0, {}).deadline, kNever);
  EXPECT_EQ(Of(0, 0, {}).since, kNow);
}

TEST(Urgency, OneIsTheHighestPriority) {
  const EngineOptions three = {.priority_levels = 3};
  EXPECT_EQ(Of(1, 0, three).level, 0u);
  EXPECT_EQ(Of(3, 0, three).level, 2u);
}

TEST(Urgency, RequestsWithoutAPriorityThatThereIsGetTheDefault) {
  const EngineOptions three = {.priority_levels = 3}, four = {.priority_levels = 4};
  EXPECT_EQ(Of(0, 0, three).level, 1u);
  EXPECT_EQ(Of(4, 0, three).level, 1u);
  EXPECT_EQ(Of(std::numeric_limits<uint64_t>::max(), 0, three).level, 1u);
  EXPECT_EQ(Of(0, 0, four).level, 1u);
  EXPECT_EQ(Of(0, 0, {.priority_levels = 3, .default_priority_level = 3}).level, 2u);
}

TEST(Urgency, RequestsOwnTimeoutOverridesTheDefault) {
  const EngineOptions options = {.default_timeout_microseconds = 500};
  EXPECT_EQ(Of(0, 0, options).deadline, kNow + std::chrono::microseconds(500));
  EXPECT_EQ(Of(0, 20, options).deadline, kNow + std::chrono::microseconds(20));
  EXPECT_EQ(Of(0, 900, options).deadline, kNow + std::chrono::microseconds(900));
}

TEST(Urgency, TimeoutCountsFromTheArrival) {
  const auto urgency =
      UrgencyOf({.timeout_microseconds = 500, .arrived = kNow - std::chrono::microseconds(200)}, {}, kNow);
  EXPECT_EQ(urgency.value().deadline, kNow + std::chrono::microseconds(300));
  EXPECT_EQ(urgency.value().timeout, std::chrono::microseconds(500));
  EXPECT_EQ(urgency.value().since, kNow);
}

TEST(Urgency, LongestTimeoutDoesNotOverflow) {
  EXPECT_EQ(Of(0, std::numeric_limits<int64_t>::max(), {}).deadline, kNow + std::chrono::hours(24));
}

TEST(Urgency, NegativeTimeoutIsRefused) {
  const auto urgency = UrgencyOf({.timeout_microseconds = -5}, {}, kNow);
  EXPECT_EQ(urgency.status().message(), "timeout: got -5 microseconds; use 1 or more, or 0 for the default");
}

}  // namespace
}  // namespace recpile
