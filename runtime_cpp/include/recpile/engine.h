// Engine: one loaded artifact, its worker threads and its queue.
//
//   Result<std::unique_ptr<Engine>> engine = Engine::Load("dlrm.pt2", {});
//   InferResult answer = engine.value()->Infer({.inputs = {...}});
//
// Loading executes code from the artifact (compiled stages are shared objects): load only what you built or trust.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "recpile/status.h"
#include "recpile/tensor.h"
#include "recpile/trace.h"

namespace recpile {

// What becomes of a request that cannot be answered within its timeout.
enum class TimeoutAction {
  kReject,  // it is answered at once with kUnavailable
  kDelay,   // it goes behind the others of its priority, and is answered some time
};

// Whether batches run at a few fixed sizes only, padded with rows whose answers nobody gets.
enum class PadBatches {
  kAuto,  // for models with layers smaller than fp32, whose kernels are built anew for each batch size
  kAlways,
  kNever,
};

// What becomes of an id that its table does not have.
enum class OutOfRange {
  kError,  // its request fails
  kZero,   // it is looked up as a row of zeros, which a mean counts too
};

// Where the tables lie.
enum class TableMemory {
  kMmap,       // in the mapped artifact: shared by all processes that serve it, and loaded as they are used
  kHugePages,  // copied to memory of this engine's own in huge pages, where random rows are found sooner
  kAuto,       // huge pages, if the tables are large enough to gain from them and small beside the memory available
};

struct EngineOptions {
  // Batches that may run side by side, each on a thread of its own. 0: one a core that the cgroup grants, or fewer
  // where a short trial while loading says that more of them compute no more. (No trial with load_nice: cores that
  // others use would tell nothing.)
  int instances = 0;
  // Each instance keeps to one core of those the process may use.
  bool pin = false;
  // Candidates (rows) in one batch. A request that has more is cut over several runs, side by side where instances are
  // idle, and answered as a whole. So is a smaller one where that, as far as past runs tell, answers it sooner.
  int64_t max_batch_size = 1024;
  // How long a request may wait for company while an instance is idle. 0: an idle instance never waits.
  int64_t max_queue_delay_microseconds = 0;
  // Batches of just so many candidates run at once; others wait for company, as long as the delay says.
  std::vector<int64_t> preferred_batch_sizes;
  // Each of the sizes runs once when the engine loads.
  PadBatches pad_batches = PadBatches::kAuto;
  // Requests of a higher priority run first. 1: all are equal, and what they ask for is ignored.
  int priority_levels = 1;
  // Of requests that ask for none, or for one that there is not. 0: the middle one.
  int default_priority_level = 0;
  // From Submit to the answer, of requests that say nothing else. 0: without limit.
  int64_t default_timeout_microseconds = 0;
  TimeoutAction timeout_action = TimeoutAction::kReject;
  // Requests that may wait; one more is refused with kUnavailable.
  int64_t max_queue_size = 4096;
  // Either way it is counted, by table.
  OutOfRange out_of_range = OutOfRange::kError;
  TableMemory table_memory = TableMemory::kAuto;
  // Where FBGEMM's operator libraries lie. Empty: beside the libtorch that this process loaded.
  std::string fbgemm_dir;
  // Empty: nobody looks on, and nothing is noted.
  BatchObserver on_batch;
  // Compare every entry's checksum with the manifest's. Sizes, versions and CPU features are checked in any case.
  bool verify_checksums = true;
  // Priority at which the engine loads and warms up, 0 (usual) to 19 (whatever runs beside it comes first), as nice(1)
  // has it. Its instances run at the priority of Load's caller.
  int load_nice = 0;

  // OK, or which option is wrong, what it was and what it may be.
  Status Validate() const;
};

struct TableInfo {
  std::string name;
  std::string dtype;  // "fp32", "fp16", "int8", "int4", "int2"
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
  // From Submit to the answer. 0: EngineOptions::default_timeout_microseconds. A request that, as far as past runs
  // tell, cannot be answered in time is refused as soon as that is known: by Submit, or later by kUnavailable.
  int64_t timeout_microseconds = 0;
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

// How often a quantity had which size. counts[i] of its values were at most 2^i, and above 2^(i-1); the last count is
// of those above all that. Whole units: a time of 1.2 us counts as 2.
struct Histogram {
  std::vector<uint64_t> counts;
  double sum = 0;  // of the values as they were

  uint64_t count() const {
    uint64_t all = 0;
    for (const uint64_t one : counts) all += one;
    return all;
  }
};

struct StageStats {
  std::string name;
  std::string kind;       // "embedding" or "compiled"
  Histogram duration_us;  // one value a run
};

struct TableStats {
  std::string name;
  uint64_t lookups = 0;       // ids looked up by batches; in columns of a dense input, those of padding too
  uint64_t out_of_range = 0;  // ids that the table does not have
};

// Counters since Load, each only ever growing (but queued).
struct EngineStats {
  uint64_t requests_ok = 0;
  uint64_t requests_partial = 0;   // of these, those answered for some of their candidates only
  uint64_t requests_failed = 0;    // accepted, then answered with an error
  uint64_t requests_rejected = 0;  // refused by Submit
  uint64_t requests_shed = 0;     // of the rejected ones, those that were fine, but came when there was no room or time
  uint64_t requests_expired = 0;  // of the failed ones, those whose timeout was over, or would have been
  uint64_t requests_canceled = 0;  // of the failed ones, those that nobody waited for any more
  uint64_t samples = 0;            // candidates answered
  uint64_t batches = 0;            // executions of the DAG
  uint64_t queued = 0;             // waiting now
  uint64_t queue_ns = 0;           // summed over requests: from Submit to the start of its batch
  uint64_t compute_ns = 0;         // summed over batches: coalesce and stages
  uint64_t padded_rows = 0;        // candidates that batches were padded with
  Histogram queue_us;              // one value a request (or piece of one): from Submit to the start of its batch
  Histogram coalesce_us;           // one value a batch, as all below: joining the requests
  Histogram infer_us;              // all stages
  Histogram split_us;              // cutting the outputs
  Histogram batch_size;            // candidates, without padding
  std::vector<StageStats> stages;  // in the order in which they run
  std::vector<TableStats> tables;  // in the order of ModelInfo::tables
};

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

  // Validates `request` on the calling thread and queues it. On OK the engine owns the request and calls `done` exactly
  // once, on a thread of the engine's: it must not block and must not throw. On an error `done` is never called. Inputs
  // are checked now and read later: their bytes must not change in between.
  Status Submit(InferRequest request, InferCallback done);

  // Submit, then wait for the answer. Not to be called from a callback.
  InferResult Infer(InferRequest request);

  // Refuses new requests, answers every accepted one, joins the instances. Idempotent. Neither this nor the destructor
  // may be called from a callback: an instance cannot join itself.
  void Stop();

 private:
  class Impl;
  explicit Engine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace recpile
