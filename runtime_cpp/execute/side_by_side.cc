#include "execute/side_by_side.h"

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <utility>

namespace recpile {

StageOrder::StageOrder(const Manifest& manifest) {
  const size_t count = manifest.stages.size();
  constexpr size_t kInput = SIZE_MAX;
  std::vector<size_t> giver(static_cast<size_t>(manifest.values), kInput);
  std::vector<std::vector<bool>> behind(count, std::vector<bool>(count));  // behind[i][j]: i needs j
  readers_.resize(count);
  awaited_.resize(count);
  for (size_t i = 0; i < count; ++i) {
    const StageSpec& stage = manifest.stages[i];
    std::vector<size_t> read;
    for (const ValueId input : stage.inputs) read.push_back(giver[static_cast<size_t>(input)]);
    std::sort(read.begin(), read.end());
    read.erase(std::unique(read.begin(), read.end()), read.end());
    std::erase(read, kInput);
    for (const size_t one : read) {
      readers_[one].push_back(i);
      behind[i][one] = true;
      for (size_t j = 0; j < one; ++j) behind[i][j] = behind[i][j] || behind[one][j];
    }
    awaited_[i] = read.size();
    for (size_t j = 0; j < i; ++j) has_branches_ = has_branches_ || !behind[i][j];
    for (const ValueId output : stage.outputs) giver[static_cast<size_t>(output)] = i;
  }
}

// Of one call of Run. Helpers may hold it a little longer than that call does.
struct SideBySide::Progress {
  std::mutex mutex;
  std::condition_variable changed;
  // Guarded by mutex.
  std::vector<size_t> awaited;
  std::vector<size_t> ready;  // those that take longest last
  size_t away = 0;            // handed over and not done
  Status status;

  // Not read by helpers.
  std::span<const std::chrono::nanoseconds> expected;

  void Add(size_t stage) {
    const auto longer = [this](size_t a, size_t b) { return expected[a] < expected[b]; };
    ready.insert(std::upper_bound(ready.begin(), ready.end(), stage, longer), stage);
  }
  void Done(size_t stage, const Status& result, const StageOrder& order) {
    if (!result.ok() && status.ok()) status = result;
    for (const size_t reader : order.readers(stage)) {
      if (--awaited[reader] == 0) Add(reader);
    }
  }
};

SideBySide::SideBySide(StageOrder order, size_t threads, Launch launch)
    : order_(std::move(order)), threads_(threads), launch_(std::move(launch)) {}

bool SideBySide::TakeThread() {
  size_t busy = busy_.load();
  while (busy < threads_) {
    if (busy_.compare_exchange_weak(busy, busy + 1)) return true;
  }
  return false;
}

void SideBySide::HandOver(const std::shared_ptr<Progress>& progress, const RunStage& run) {
  // One stage stays: the caller would have nothing to do but wait.
  for (size_t i = progress->ready.size() - 1; i-- > 0;) {
    const size_t stage = progress->ready[i];
    if (progress->expected[stage] < kWorthIt || !TakeThread()) return;
    try {
      // `run` outlives the task: Run waits until none is away.
      launch_([this, progress, stage, &run] {
        const Status result = run(stage);
        --busy_;
        const std::lock_guard lock(progress->mutex);
        progress->Done(stage, result, order_);
        --progress->away;
        progress->changed.notify_one();
      });
    } catch (const std::exception&) {  // no thread to be had: the caller runs it
      --busy_;
      return;
    }
    ++progress->away;
    progress->ready.erase(progress->ready.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

Status SideBySide::Run(const RunStage& run, std::span<const std::chrono::nanoseconds> expected) {
  const auto progress = std::make_shared<Progress>();
  progress->awaited = order_.awaited();
  progress->expected = expected;
  std::unique_lock lock(progress->mutex);
  for (size_t i = 0; i < order_.stages(); ++i) {
    if (progress->awaited[i] == 0) progress->Add(i);
  }
  ++busy_;
  while (true) {
    if (!progress->ready.empty() && progress->status.ok()) {
      HandOver(progress, run);
      const size_t stage = progress->ready.back();
      progress->ready.pop_back();
      lock.unlock();
      const Status result = run(stage);
      lock.lock();
      progress->Done(stage, result, order_);
    } else if (progress->away > 0) {
      progress->changed.wait(lock);
    } else {
      break;
    }
  }
  --busy_;
  return progress->status;
}

}  // namespace recpile
