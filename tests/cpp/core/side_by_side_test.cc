#include "execute/side_by_side.h"

#include <gtest/gtest.h>

#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>

namespace recpile {
namespace {

using std::chrono::microseconds;
using std::chrono::nanoseconds;

// Stage i gives value i + 1; value 0 is the input. Each is told by the values that it reads.
StageOrder Order(const std::vector<std::vector<ValueId>>& reads) {
  Manifest manifest;
  manifest.inputs.resize(1);
  manifest.values = static_cast<int32_t>(reads.size()) + 1;
  for (size_t i = 0; i < reads.size(); ++i) {
    StageSpec stage;
    stage.inputs = reads[i];
    stage.outputs = {static_cast<ValueId>(i + 1)};
    manifest.stages.push_back(stage);
  }
  return StageOrder(manifest);
}

// Two towers and what joins them.
StageOrder Towers() { return Order({{0}, {0}, {1, 2}}); }

const std::vector<nanoseconds> kLong(3, microseconds(1000));

// A thread for each task, joined in the end.
class Threads {
 public:
  ~Threads() {
    for (std::thread& one : threads_) one.join();
  }
  SideBySide::Launch launch() {
    return [this](std::function<void()> task) {
      const std::lock_guard lock(mutex_);
      threads_.emplace_back(std::move(task));
    };
  }
  size_t count() {
    const std::lock_guard lock(mutex_);
    return threads_.size();
  }

 private:
  std::mutex mutex_;
  std::vector<std::thread> threads_;
};

SideBySide::Launch Never() {
  return [](const std::function<void()>&) { FAIL() << "nothing is worth a thread"; };
}

// Runs with a record of the order.
class Recorded {
 public:
  SideBySide::RunStage run() {
    return [this](size_t stage) {
      const std::lock_guard lock(mutex_);
      stages.push_back(stage);
      return Status();
    };
  }
  std::vector<size_t> stages;

 private:
  std::mutex mutex_;
};

TEST(StageOrder, AChainHasNoBranches) { EXPECT_FALSE(Order({{0}, {1}, {1, 2}}).has_branches()); }

TEST(StageOrder, TowersAreBranches) {
  const StageOrder order = Towers();
  EXPECT_TRUE(order.has_branches());
  EXPECT_EQ(order.readers(0), std::vector<size_t>{2});
  EXPECT_EQ(order.awaited(), (std::vector<size_t>{0, 0, 2}));
}

TEST(StageOrder, AStageThatReadsTwoValuesOfAnotherWaitsForItOnce) {
  EXPECT_EQ(Order({{0}, {1, 1}}).awaited(), (std::vector<size_t>{0, 1}));
}

TEST(SideBySide, EveryStageRunsOnceAfterWhatItReads) {
  Threads threads;
  SideBySide side(Towers(), 2, threads.launch());
  for (int i = 0; i < 200; ++i) {
    Recorded recorded;
    EXPECT_TRUE(side.Run(recorded.run(), kLong).ok());
    ASSERT_EQ(recorded.stages.size(), 3u);
    EXPECT_EQ(recorded.stages.back(), 2u);
  }
}

TEST(SideBySide, IndependentStagesMeetOnTwoThreads) {
  Threads threads;
  SideBySide side(Towers(), 2, threads.launch());
  std::mutex mutex;
  std::condition_variable both;
  int inside = 0;
  const auto meet = [&](size_t stage) {
    if (stage == 2) return Status();
    std::unique_lock lock(mutex);
    ++inside;
    both.notify_all();
    const bool met = both.wait_for(lock, std::chrono::seconds(30), [&] { return inside == 2; });
    return met ? Status() : Status::Internal("alone");
  };
  EXPECT_TRUE(side.Run(meet, kLong).ok());
}

TEST(SideBySide, NoThreadIsTakenWhenAllAreBusy) {
  Recorded recorded;
  SideBySide side(Towers(), 1, Never());
  EXPECT_TRUE(side.Run(recorded.run(), kLong).ok());
  EXPECT_EQ(recorded.stages.size(), 3u);
}

TEST(SideBySide, ShortStagesStayOnOneThread) {
  Recorded recorded;
  SideBySide side(Towers(), 2, Never());
  const std::vector<nanoseconds> expected = {microseconds(5), microseconds(1000), microseconds(1000)};
  EXPECT_TRUE(side.Run(recorded.run(), expected).ok());
  EXPECT_EQ(recorded.stages, (std::vector<size_t>{1, 0, 2}));
}

TEST(SideBySide, AfterAFailureNothingBegins) {
  Threads threads;
  SideBySide side(Towers(), 2, threads.launch());
  std::atomic<bool> joined{false};
  const auto fail = [&](size_t stage) {
    if (stage == 2) joined = true;
    return stage == 0 ? Status::Internal("no") : Status();
  };
  EXPECT_EQ(side.Run(fail, kLong).message(), "no");
  EXPECT_FALSE(joined);
}

TEST(SideBySide, WithoutAThreadTheCallerRunsEverything) {
  Recorded recorded;
  SideBySide side(Towers(), 2, [](const std::function<void()>&) { throw std::runtime_error("no threads"); });
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(side.Run(recorded.run(), kLong).ok());
  EXPECT_EQ(recorded.stages.size(), 9u);
}

TEST(SideBySide, CallsFromSeveralThreadsDoNotMix) {
  Threads threads;
  SideBySide side(Towers(), 3, threads.launch());
  std::vector<std::thread> callers;
  for (int t = 0; t < 3; ++t) {
    callers.emplace_back([&] {
      for (int i = 0; i < 100; ++i) {
        Recorded recorded;
        EXPECT_TRUE(side.Run(recorded.run(), kLong).ok());
        EXPECT_EQ(recorded.stages.size(), 3u);
      }
    });
  }
  for (std::thread& one : callers) one.join();
}

}  // namespace
}  // namespace recpile
