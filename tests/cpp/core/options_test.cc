// EngineOptions: what is refused, and that the refusal says what to do.
#include <gtest/gtest.h>

#include "recpile/engine.h"

namespace recpile {
namespace {

// Why options that differ from the defaults by `change` are refused; empty if they are not.
template <typename Change>
std::string Refusal(Change change) {
  EngineOptions options;
  change(options);
  const Status status = options.Validate();
  EXPECT_TRUE(status.ok() || status.code() == StatusCode::kInvalidArgument);
  return status.message();
}

TEST(EngineOptions, DefaultsAreValid) {
  EXPECT_EQ(Refusal([](EngineOptions&) {}), "");
}

TEST(EngineOptions, SmallestValuesAreValid) {
  EXPECT_EQ(Refusal([](EngineOptions& o) { o.instances = 1, o.max_batch_size = 1, o.max_queue_size = 1; }), "");
}

TEST(EngineOptions, WrongOptionIsNamedWithWhatItMayBe) {
  EXPECT_EQ(Refusal([](EngineOptions& o) { o.instances = -1; }), "instances: got -1; use 0 or more");
  EXPECT_EQ(Refusal([](EngineOptions& o) { o.instances = 1025; }), "instances: got 1025; use 1024 or fewer");
  EXPECT_EQ(Refusal([](EngineOptions& o) { o.max_batch_size = 0; }), "max_batch_size: got 0; use 1 or more");
  EXPECT_EQ(Refusal([](EngineOptions& o) { o.max_queue_delay_microseconds = -1; }),
            "max_queue_delay_microseconds: got -1; use 0 or more");
  EXPECT_EQ(Refusal([](EngineOptions& o) { o.max_queue_size = 0; }), "max_queue_size: got 0; use 1 or more");
}

}  // namespace
}  // namespace recpile
