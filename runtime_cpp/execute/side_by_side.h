// Runs the stages of one batch in the order of what they read, some of them beside each other when cores are idle.
// Plain C++.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "artifact/manifest.h"
#include "recpile/status.h"

namespace recpile {

// Which stages wait for which. Immutable.
class StageOrder {
 public:
  explicit StageOrder(const Manifest& manifest);

  size_t stages() const { return readers_.size(); }
  // Some stage may run while another does.
  bool has_branches() const { return has_branches_; }
  // Stages that read what stage `i` gives, each once.
  const std::vector<size_t>& readers(size_t i) const { return readers_[i]; }
  // For each stage, how many others it reads.
  const std::vector<size_t>& awaited() const { return awaited_; }

 private:
  std::vector<std::vector<size_t>> readers_;
  std::vector<size_t> awaited_;
  bool has_branches_ = false;
};

// Shared by all instances of a model. Thread-safe.
class SideBySide {
 public:
  // Runs a stage on the calling thread.
  using RunStage = std::function<Status(size_t stage)>;
  // Runs a task on another thread, soon. May throw, and then has not taken it.
  using Launch = std::function<void(std::function<void()>)>;

  // At most `threads` stages run at once over all calls of Run. A stage that takes less than this is not worth another
  // thread: handing it over and waiting for it costs some 10 us.
  static constexpr std::chrono::microseconds kWorthIt{40};

  SideBySide(StageOrder order, size_t threads, Launch launch);

  // Calls run(i) for every stage once those that it reads are done. `expected[i]`: how long stage i is likely to
  // take. The first failure is returned, no stage begins after it, and none is under way when this returns.
  Status Run(const RunStage& run, std::span<const std::chrono::nanoseconds> expected);

  const StageOrder& order() const { return order_; }

 private:
  struct Progress;
  bool TakeThread();
  // Hands what is ready and worth it to idle threads; what is left is the caller's.
  void HandOver(const std::shared_ptr<Progress>& progress, const RunStage& run);

  const StageOrder order_;
  const size_t threads_;
  const Launch launch_;
  std::atomic<size_t> busy_{0};
};

}  // namespace recpile
