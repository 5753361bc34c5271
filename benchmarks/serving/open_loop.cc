#include "open_loop.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>

namespace recpile::benchmark {
namespace {

using Clock = std::chrono::steady_clock;

struct State {
  std::mutex mutex;
  Outcome outcome;
  int64_t outstanding = 0;
};

int64_t Outstanding(State& state) {
  const std::lock_guard lock(state.mutex);
  return state.outstanding;
}

double CpuSeconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

double Percentile(const std::vector<double>& sorted, double share) {
  if (sorted.empty()) return 0;
  const auto index = static_cast<size_t>(std::ceil(share * static_cast<double>(sorted.size())));
  return sorted[std::min(std::max<size_t>(index, 1), sorted.size()) - 1];
}

}  // namespace

Outcome RunOpenLoop(const Schedule& schedule, Sender& sender) {
  const auto state = std::make_shared<State>();
  const auto total = static_cast<int64_t>(schedule.rate * schedule.seconds);
  const Clock::time_point begin = Clock::now();
  const double cpu_before = CpuSeconds();
  for (int64_t i = 0; i < total && !(schedule.stop != nullptr && *schedule.stop); ++i) {
    const Clock::time_point due =
        begin + std::chrono::nanoseconds(static_cast<int64_t>(1e9 * static_cast<double>(i) / schedule.rate));
    sender.WaitUntil(due);
    {
      const std::lock_guard lock(state->mutex);
      if (state->outstanding == schedule.max_outstanding) {
        ++state->outcome.dropped;
        continue;
      }
      ++state->outstanding;
    }
    sender.Send([state, due, keep = schedule.keep_samples, deadline = schedule.deadline_us](bool ok) {
      const double latency = std::chrono::duration<double, std::micro>(Clock::now() - due).count();
      const std::lock_guard lock(state->mutex);
      ++(ok ? state->outcome.answered : state->outcome.failed);
      (ok ? state->outcome.latency_us : state->outcome.refusal_us).push_back(latency);
      if (ok && (deadline == 0 || latency <= deadline)) ++state->outcome.in_time;
      if (keep) {
        const double at = std::chrono::duration<double>(due.time_since_epoch()).count();
        state->outcome.samples.push_back({at, latency, ok});
      }
      --state->outstanding;
    });
  }
  const Clock::time_point limit = Clock::now() + std::chrono::seconds(30);
  while (Outstanding(*state) > 0 && Clock::now() < limit) sender.WaitUntil(Clock::now() + std::chrono::milliseconds(1));
  const std::lock_guard lock(state->mutex);
  Outcome outcome = state->outcome;
  outcome.cpu_seconds = CpuSeconds() - cpu_before;
  outcome.seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  std::ranges::sort(outcome.latency_us);
  std::ranges::sort(outcome.refusal_us);
  return outcome;
}

std::string ToJson(const Outcome& outcome) {
  return nlohmann::json({{"answered", outcome.answered},
                         {"in_time", outcome.in_time},
                         {"cpu_seconds", outcome.cpu_seconds},
                         {"failed", outcome.failed},
                         {"dropped", outcome.dropped},
                         {"seconds", outcome.seconds},
                         {"refused_p50_us", Percentile(outcome.refusal_us, 0.5)},
                         {"refused_p99_us", Percentile(outcome.refusal_us, 0.99)},
                         {"p50_us", Percentile(outcome.latency_us, 0.5)},
                         {"p99_us", Percentile(outcome.latency_us, 0.99)},
                         {"p999_us", Percentile(outcome.latency_us, 0.999)}})
      .dump();
}

}  // namespace recpile::benchmark
