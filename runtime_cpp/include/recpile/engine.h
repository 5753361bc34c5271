// Engine: one loaded artifact, its worker threads and its queue.
//
//   Result<std::unique_ptr<Engine>> engine = Engine::Load("dlrm.pt2", {});
//   InferResult answer = engine.value()->Infer({.inputs = {...}});
//
// Loading executes code from the artifact (compiled stages are shared objects): load only what you built or trust.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "recpile/engine_options.h"
#include "recpile/engine_stats.h"
#include "recpile/status.h"
#include "recpile/tensor.h"
#include "recpile/trace.h"

namespace recpile {

struct TableInfo {
  std::string name;
  std::string dtype;  // "fp32", "fp16", "bf16", "int8", "int4", "int2"
  int64_t rows = 0;
  int64_t dim = 0;
  int64_t bytes = 0;
};

struct StageInfo {
  std::string name;
  std::string kind;  // "embedding" or "compiled"
};

// How much so many instances computed side by side while the engine loaded.
struct InstanceTrial {
  int instances = 1;
  double candidates_per_second = 0;  // 0: not measured
};

// What the manifest says of the model. Immutable once the engine is loaded.
struct ModelInfo {
  std::string name;
  std::string version;
  // Flat tensors. A jagged or keyed jagged input `x` appears as `x.values`, `x.lengths` and, if weighted, `x.weights`.
  std::vector<TensorSpec> inputs;
  std::vector<TensorSpec> outputs;
  std::vector<StageInfo> stages;
  std::vector<TableInfo> tables;
};

struct InferRequest {
  std::vector<Tensor> inputs;  // in any order; each input of the model exactly once
  // 1 is the highest of EngineOptions::priority_levels; 0 is the default level.
  uint64_t priority = 0;
  // From `arrived` to the answer. 0: EngineOptions::default_timeout_microseconds. A request that, as far as past runs
  // tell, cannot be answered in time is refused as soon as that is known: by Submit, or later by kUnavailable.
  int64_t timeout_microseconds = 0;
  // Since when somebody waits for the answer; the epoch: since Submit.
  std::chrono::steady_clock::time_point arrived = {};
  // Where there is no time for all candidates, leave out the last ones rather than refuse the request.
  bool partial_ok = false;
  // Becomes true, on any thread, when nobody waits for the answer any more. If no instance has begun with the request
  // by then it is not computed, and answered with kCanceled. May be null.
  std::shared_ptr<const std::atomic<bool>> canceled = nullptr;
  // If there is one, it is filled in by the time the callback is called.
  std::shared_ptr<RequestTrace> trace = nullptr;
};

// The model's outputs in its order, holding the rows of this request alone.
class InferResult : public Result<std::vector<Tensor>> {
 public:
  using Result::Result;

  // The request's last candidates for which there was no time, and of which the outputs therefore have no rows. Only
  // ever above 0 for a request that allowed it (InferRequest::partial_ok).
  int64_t left_out = 0;
};
using InferCallback = std::function<void(InferResult)>;

// Thread-safe: every method may be called from any thread, several at once. Loading sets libtorch to one thread an
// operator in this whole process: instances are what runs side by side.
class Engine {
 public:
  // Verifies the artifact, maps its tables, loads its stages, runs a warm-up batch and starts the instances.
  static Result<std::unique_ptr<Engine>> Load(const std::string& path, const EngineOptions& options);

  // Stops first.
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  const ModelInfo& model() const;
  const EngineOptions& options() const;  // as resolved: instances is never 0
  // How the number of instances was chosen, the chosen one last; empty where the options gave it.
  const std::vector<InstanceTrial>& instance_trials() const;
  EngineStats stats() const;
  // Where the tables lie, and why there: "huge pages: 2.0 GiB of tables, 12.1 GiB of memory available".
  const std::string& table_memory() const;

  // Unavailable, and counted as shed, if a request would find the queue full, or the engine stopping: so that one need
  // not be decoded to be refused.
  Status CheckRoom();
  // Likewise, if what waits already leaves too little time for a request of such a timeout and priority. Its inputs are
  // not looked at: so that one need not be read to be refused.
  Status CheckTime(const InferRequest& request);
  // Requests that wait now.
  size_t queued() const;

  // Validates `request` on the calling thread and queues it. On OK the engine owns the request and calls `done` exactly
  // once, on a thread of the engine's: it must not block and must not throw. On an error `done` is never called. Inputs
  // are checked now and read later: their bytes must not change in between.
  Status Submit(InferRequest request, InferCallback done);

  // Submit, then wait for the answer. Not to be called from a callback.
  InferResult Infer(InferRequest request);

  // From now on no request waits for others to share its batch, those that do run at once: for an engine to which few
  // more will come. Idempotent.
  void HoldNothingBack();

  // Refuses new requests, answers every accepted one, joins the instances. Idempotent. Neither this nor the destructor
  // may be called from a callback: an instance cannot join itself.
  void Stop();

 private:
  class Impl;
  explicit Engine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace recpile
