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
}

}  // namespace
}  // namespace recpile
