// What the engine makes of many small requests: the same load with and without coalescing, in one run.
//
//   recpile_engine_benchmark ARTIFACT [google-benchmark flags]
//
// Burst: each iteration submits a burst of requests of `candidates` rows and waits for every answer. max_batch 1 runs
// each request alone; compare items_per_second (candidates answered) between the two.
//
// Mixed: four clients, each with one request under way, send requests of ever other sizes. Compare p99_us with and
// without padded batches; it matters for artifacts with bf16 layers.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "recpile/engine.h"

namespace {

using namespace recpile;

constexpr int kBurst = 2048;
std::string artifact_path;

// `rows` candidates, dense values zero and bags empty: what is measured is everything but the tables' memory.
InferRequest ZeroRequest(const ModelInfo& model, int64_t rows) {
  InferRequest request;
  for (const TensorSpec& spec : model.inputs) {
    Tensor tensor{spec.name, spec.dtype, spec.shape, {}, nullptr};
    const bool bags = spec.name.ends_with(".values") || spec.name.ends_with(".weights");
    size_t bytes = DTypeBytes(spec.dtype);
    for (int64_t& size : tensor.shape) {
      if (size == -1) size = bags ? 0 : rows;
      bytes *= static_cast<size_t>(size);
    }
    auto zeros = std::make_shared<std::vector<std::byte>>(bytes);
    tensor.data = *zeros;
    tensor.owner = zeros;
    request.inputs.push_back(std::move(tensor));
  }
  return request;
}

void Burst(benchmark::State& state) {
  EngineOptions options;
  options.max_batch_size = state.range(0);
  options.instances = static_cast<int>(state.range(2));
  const int64_t rows = state.range(1);
  auto loaded = Engine::Load(artifact_path, options);
  if (!loaded.ok()) {
    state.SkipWithError(loaded.status().message().c_str());
    return;
  }
  Engine& engine = *loaded.value();
  const InferRequest request = ZeroRequest(engine.model(), rows);
  const std::clock_t cpu_before = std::clock();
  for (auto _ : state) {
    std::atomic<int> waiting = kBurst;
    for (int i = 0; i < kBurst; ++i) {
      const Status status = engine.Submit(request, [&waiting](const InferResult&) {
        if (--waiting == 0) waiting.notify_one();
      });
      if (!status.ok()) std::abort();
    }
    for (int left = waiting; left != 0; left = waiting) waiting.wait(left);
  }
  const double cpu_us = 1e6 * static_cast<double>(std::clock() - cpu_before) / CLOCKS_PER_SEC;
  const EngineStats stats = engine.stats();
  double stages_us = 0;
  for (const StageStats& stage : stats.stages) stages_us += stage.duration_us.sum;
  // What all threads computed but for the stages, a request: checking, queueing, coalescing, splitting, answering. Only
  // on a machine that does nothing else, for the stages' share is taken from the clock on the wall.
  state.counters["own_us"] = (cpu_us - stages_us) / static_cast<double>(stats.requests_ok);
  state.SetItemsProcessed(state.iterations() * kBurst * rows);
  state.counters["requests"] = benchmark::Counter(static_cast<double>(stats.requests_ok), benchmark::Counter::kIsRate);
  state.counters["rows_per_batch"] = static_cast<double>(stats.samples) / static_cast<double>(stats.batches);
  // Of an instance's time, what went into coalescing, stages and splitting, a candidate.
  state.counters["compute_us"] = static_cast<double>(stats.compute_ns) / 1e3 / static_cast<double>(stats.samples);
}

// Sends `count` requests of 1 to 200 rows, one after the other; appends what each took, in microseconds.
void Client(Engine& engine, unsigned seed, int count, std::vector<double>& took) {
  std::minstd_rand random(seed);
  for (int i = 0; i < count; ++i) {
    const InferRequest request = ZeroRequest(engine.model(), 1 + static_cast<int64_t>(random() % 200));
    const auto start = std::chrono::steady_clock::now();
    if (!engine.Infer(request).ok()) std::abort();
    took.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count());
  }
}

void Mixed(benchmark::State& state) {
  constexpr int kClients = 4, kEach = 500;
  EngineOptions options;
  options.pad_batches = state.range(0) != 0 ? PadBatches::kAlways : PadBatches::kNever;
  std::vector<double> all;
  for (auto _ : state) {
    state.PauseTiming();
    auto loaded = Engine::Load(artifact_path, options);
    if (!loaded.ok()) {
      state.SkipWithError(loaded.status().message().c_str());
      return;
    }
    std::vector<std::vector<double>> took(kClients);
    state.ResumeTiming();
    std::vector<std::thread> clients;
    for (unsigned c = 0; c < kClients; ++c) {
      clients.emplace_back([&, c] { Client(*loaded.value(), c + 1, kEach, took[c]); });
    }
    for (std::thread& client : clients) client.join();
    state.PauseTiming();
    for (const auto& one : took) all.insert(all.end(), one.begin(), one.end());
    loaded.value()->Stop();
    state.ResumeTiming();
  }
  std::sort(all.begin(), all.end());
  const auto at = [&](double part) { return all[static_cast<size_t>(part * static_cast<double>(all.size() - 1))]; };
  state.counters["p50_us"] = at(0.5);
  state.counters["p99_us"] = at(0.99);
  state.counters["max_us"] = all.back();
  state.counters["requests"] =
      benchmark::Counter(static_cast<double>(kClients * kEach * state.iterations()), benchmark::Counter::kIsRate);
}

}  // namespace

BENCHMARK(Mixed)->ArgName("padded")->Arg(0)->Arg(1)->Iterations(1)->UseRealTime()->Unit(benchmark::kMillisecond);

BENCHMARK(Burst)
    ->ArgNames({"max_batch", "candidates", "instances"})
    ->Args({1, 1, 1})
    ->Args({1024, 1, 1})
    ->Args({1, 1, 2})
    ->Args({1024, 1, 2})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s ARTIFACT [google-benchmark flags]\n", argv[0]);
    return 2;
  }
  artifact_path = argv[1];
  argv[1] = argv[0];
  --argc;
  ++argv;
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
