// EngineOptions: what is refused, and that the refusal says what to do.
#include <gtest/gtest.h>

#include "recpile/engine.h"

namespace recpile {
namespace {

std::string Refusal(const EngineOptions& options) {
  const Status status = options.Validate();
  EXPECT_TRUE(status.ok() || status.code() == StatusCode::kInvalidArgument);
  return status.message();
}

TEST(EngineOptions, DefaultsAreValid) { EXPECT_EQ(Refusal({}), ""); }

TEST(EngineOptions, SmallestValuesAreValid) {
  EXPECT_EQ(Refusal({.instances = 1, .max_batch_size = 1, .max_queue_delay_microseconds = 0, .max_queue_size = 1}), "");
}

TEST(EngineOptions, WrongOptionIsNamedWithWhatItMayBe) {
  EXPECT_EQ(Refusal({.instances = -1}), "instances: got -1; use 0 or more");
  EXPECT_EQ(Refusal({.instances = 1025}), "instances: got 1025; use 1024 or fewer");
  EXPECT_EQ(Refusal({.max_batch_size = 0}), "max_batch_size: got 0; use 1 or more");
  EXPECT_EQ(Refusal({.max_queue_delay_microseconds = -1}), "max_queue_delay_microseconds: got -1; use 0 or more");
  EXPECT_EQ(Refusal({.max_queue_delay_microseconds = 3'600'000'001}),
            "max_queue_delay_microseconds: got 3600000001; use 3600000000 (an hour) or less");
  EXPECT_EQ(Refusal({.max_queue_size = 0}), "max_queue_size: got 0; use 1 or more");
  EXPECT_EQ(Refusal({.default_timeout_microseconds = -1}), "default_timeout_microseconds: got -1; use 0 or more");
}

TEST(EngineOptions, PrioritiesFitTheirLevels) {
  EXPECT_EQ(Refusal({.priority_levels = 3, .default_priority_level = 3}), "");
  EXPECT_EQ(Refusal({.priority_levels = 0}), "priority_levels: got 0; use 1 or more");
  EXPECT_EQ(Refusal({.priority_levels = 101}), "priority_levels: got 101; use 100 or less");
  EXPECT_EQ(Refusal({.priority_levels = 3, .default_priority_level = 4}),
            "default_priority_level: got 4; use 3 or less");
}

TEST(EngineOptions, PreferredSizesAreSizesOfBatches) {
  EXPECT_EQ(Refusal({.max_batch_size = 64, .preferred_batch_sizes = {16, 64}}), "");
  EXPECT_EQ(Refusal({.max_batch_size = 64, .preferred_batch_sizes = {16, 65}}),
            "preferred_batch_sizes: got 65; use 64 (max_batch_size) or less");
  EXPECT_EQ(Refusal({.preferred_batch_sizes = {0}}), "preferred_batch_sizes: got 0; use 1 or more");
}

}  // namespace
}  // namespace recpile
