// What the engine makes of many small requests: the same load with and without coalescing, in one run.
//
//   recpile_engine_benchmark ARTIFACT [google-benchmark flags]
//
// Each iteration submits a burst of requests of `candidates` rows and waits for every answer. max_batch 1 runs each
// request alone; compare items_per_second (candidates answered) between the two.
#include <benchmark/benchmark.h>

#include <atomic>
#include <cstdio>
#include <memory>
#include <string>

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
  const EngineStats stats = engine.stats();
  state.SetItemsProcessed(state.iterations() * kBurst * rows);
  state.counters["requests"] = benchmark::Counter(static_cast<double>(stats.requests_ok), benchmark::Counter::kIsRate);
  state.counters["rows_per_batch"] = static_cast<double>(stats.samples) / static_cast<double>(stats.batches);
  // Of an instance's time, what went into coalescing, stages and splitting, a candidate.
  state.counters["compute_us"] = static_cast<double>(stats.compute_ns) / 1e3 / static_cast<double>(stats.samples);
}

}  // namespace

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
