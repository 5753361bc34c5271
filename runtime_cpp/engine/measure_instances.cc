#include "engine/measure_instances.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "engine/counters.h"
#include "engine/describe.h"
#include "engine/instance.h"

namespace recpile {
namespace {

constexpr int kTrials = 3;
constexpr std::chrono::milliseconds kTrial(8);
// Large enough for the arithmetic to count.
constexpr int64_t kRows = 64;

}  // namespace

double MeasureInstances(int instances, const Manifest& manifest, const Executor& executor, const BatchSizes& sizes,
                        int64_t max_batch_size) {
  const Result<CheckedRequest> one = WarmUpRequest(manifest);
  if (!one.ok()) return 0;
  const int64_t rows = std::min(sizes.AtLeast(kRows), max_batch_size);
  const std::vector<const CheckedRequest*> batch(static_cast<size_t>(rows), &one.value());
  Counters nobody_reads(manifest.stages.size(), manifest.tables.size());
  std::atomic<bool> failed = false;
  double best = 0;
  for (int trial = 0; trial < kTrials; ++trial) {
    std::atomic<double> all = 0;
    const auto work = [&] {
      Executor::InitThread();
      Instance instance(manifest, executor, sizes, nobody_reads);
      if (!instance.WarmUp(batch).ok()) failed = true;
      const Clock::time_point start = Clock::now();
      Clock::time_point end = start;
      int64_t runs = 0;
      for (; !failed && end - start < kTrial; end = Clock::now()) {
        if (!instance.WarmUp(batch).ok()) failed = true;
        ++runs;
      }
      if (runs > 0) all += static_cast<double>(runs * rows) / std::chrono::duration<double>(end - start).count();
    };
    {
      std::vector<std::jthread> threads;
      for (int i = 0; i < instances; ++i) threads.emplace_back(work);
    }
    best = std::max(best, all.load());
  }
  return failed ? 0 : best;
}

}  // namespace recpile
