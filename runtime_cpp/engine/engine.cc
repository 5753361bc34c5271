#include "recpile/engine.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <future>
#include <latch>
#include <mutex>
#include <thread>

#include "artifact/artifact.h"
#include "artifact/table_memory.h"
#include "base/cores.h"
#include "base/priority.h"
#include "base/this_thread.h"
#include "engine/caught.h"
#include "engine/choose_instances.h"
#include "engine/counters.h"
#include "engine/describe.h"
#include "engine/instance.h"
#include "engine/measure_instances.h"
#include "engine/pieces.h"
#include "engine/request_queue.h"
#include "engine/urgency.h"
#include "execute/executor.h"

namespace recpile {

namespace {

// The sizes at which batches run; none: as they come.
BatchSizes SizesOf(const Manifest& manifest, const EngineOptions& options) {
  const bool onednn =
      std::any_of(manifest.stages.begin(), manifest.stages.end(), [](const StageSpec& stage) { return stage.onednn; });
  const bool pad = options.pad_batches == PadBatches::kAlways || (options.pad_batches == PadBatches::kAuto && onednn);
  return pad ? BatchSizes::UpTo(options.max_batch_size) : BatchSizes();
}

}  // namespace

class Engine::Impl {
 public:
  // `chosen` has as many instances as may be; fewer may be started.
  Impl(std::shared_ptr<const Artifact> opened, std::shared_ptr<const PlacedTables> placed,
       std::unique_ptr<Executor> loaded, const EngineOptions& chosen, bool choose_instances)
      : artifact(std::move(opened)),
        tables(std::move(placed)),
        executor(std::move(loaded)),
        info(Describe(artifact->manifest())),
        sizes(SizesOf(artifact->manifest(), chosen)),
        trials(choose_instances ? Trials(chosen) : std::vector<InstanceTrial>()),
        options(Resolved(chosen, trials)),
        counters(info.stages.size(), info.tables.size()),
        queue({options.max_batch_size, std::chrono::microseconds(options.max_queue_delay_microseconds),
               options.preferred_batch_sizes},
              {static_cast<size_t>(options.max_queue_size), static_cast<size_t>(options.priority_levels),
               options.timeout_action == TimeoutAction::kDelay, options.instances, sizes},
              [this](std::vector<QueuedRequest> late) { Refuse(std::move(late)); }) {}

  std::vector<InstanceTrial> Trials(const EngineOptions& chosen) const {
    return ChooseInstances(chosen.instances, [&](int instances) {
      return MeasureInstances(instances, artifact->manifest(), *executor, sizes, chosen.max_batch_size);
    });
  }

  static EngineOptions Resolved(EngineOptions chosen, const std::vector<InstanceTrial>& trials) {
    if (!trials.empty()) chosen.instances = trials.back().instances;
    return chosen;
  }

  // Every size that will run, or, if that may be any, a few. Tells the queue what runs cost.
  Status WarmUp() {
    Instance instance(artifact->manifest(), *executor, sizes, counters);
    RECPILE_ASSIGN_OR_RETURN(const CheckedRequest one, WarmUpRequest(artifact->manifest()));
    std::vector<int64_t> runs = sizes.all();
    if (runs.empty()) runs = {1, 2, 16, 128};
    for (const int64_t rows : runs) {
      if (rows > options.max_batch_size) break;
      const std::vector<const CheckedRequest*> batch(static_cast<size_t>(rows), &one);
      RECPILE_RETURN_IF_ERROR(instance.WarmUp(batch));
      // Once more: the first run of a size allocates, and in bf16 makes kernels. The thread's own time counts, for it
      // may run at low priority.
      const Clock::duration start = ThreadCpuTime();
      RECPILE_RETURN_IF_ERROR(instance.WarmUp(batch));
      queue.Seed(rows, ThreadCpuTime() - start);
    }
    return {};
  }

  Status Start() {
    return Caught("starting the instances", [&]() -> Status {
      RECPILE_ASSIGN_OR_RETURN(const CheckedRequest one, WarmUpRequest(artifact->manifest()));
      const auto warm = std::make_shared<std::latch>(options.instances);
      for (int i = 0; i < options.instances; ++i) {
        threads.emplace_back([this, one, warm, i] {
          if (options.pin) PinToNextCore();
          Executor::InitThread();
          Instance instance(artifact->manifest(), *executor, sizes, counters, Observer(), i);
          // What memory it needs, and what libtorch keeps for a thread, is not for the first request to wait for. That
          // a run succeeds is known already.
          const CheckedRequest* const batch[] = {&one};
          (void)instance.WarmUp(batch);
          warm->count_down();
          instance.Serve(queue);
        });
      }
      threads.emplace_back([this] { queue.WatchDeadlines(); });
      warm->wait();
      return {};
    });
  }

  void Stop() {
    const std::lock_guard lock(stopping);
    queue.Close();
    for (std::thread& thread : threads) thread.join();
    threads.clear();
  }

  // What a request was refused with, if it was.
  Status Counted(Status status) {
    if (!status.ok()) ++counters.requests_rejected;
    if (status.code() == StatusCode::kUnavailable) ++counters.requests_shed;
    return status;
  }

  // Empty if nobody looks on.
  Instance::Observer Observer() const {
    if (!options.on_batch) return {};
    return [this](const BatchTrace& batch, TraceTime answered) { options.on_batch(info, batch, answered); };
  }

  void Refuse(std::vector<QueuedRequest> late) {
    for (QueuedRequest& request : late) {
      if (request.gone()) {
        Finish(request, Status::Canceled("nobody waits for the answer any more"), counters);
        continue;
      }
      const auto timeout =
          std::chrono::duration_cast<std::chrono::microseconds>(request.deadline - request.since).count();
      Finish(request,
             Status::Unavailable("the request cannot be answered within its timeout of " + std::to_string(timeout) +
                                 " us; send less, or allow more time"),
             counters);
    }
  }

  const std::shared_ptr<const Artifact> artifact;
  const std::shared_ptr<const PlacedTables> tables;
  const std::unique_ptr<Executor> executor;
  const ModelInfo info;
  const BatchSizes sizes;
  const std::vector<InstanceTrial> trials;
  const EngineOptions options;
  Counters counters;
  const IdPolicy ids{options.out_of_range, [this](int32_t table, uint64_t count) {
                       counters.tables[static_cast<size_t>(table)].out_of_range += count;
                     }};
  RequestQueue queue;
  std::mutex stopping;
  std::vector<std::thread> threads;  // guarded by stopping, once started
};

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Engine::~Engine() { Stop(); }

Result<std::unique_ptr<Engine>> Engine::Load(const std::string& path, const EngineOptions& options) {
  RECPILE_RETURN_IF_ERROR(options.Validate());
  EngineOptions resolved = options;
  const bool choose_instances = options.instances == 0 && options.load_nice == 0;
  if (resolved.instances == 0) resolved.instances = AvailableCores();
  const auto prepare = [&]() -> Result<std::unique_ptr<Engine>> {
    LowerThreadPriority(resolved.load_nice);
    Executor::InitThread();
    RECPILE_ASSIGN_OR_RETURN(auto artifact, Artifact::Open(path, options.verify_checksums, ThisMachine()));
    RECPILE_ASSIGN_OR_RETURN(
        auto tables, PlacedTables::Place(artifact, resolved.table_memory, MemoryFor(*artifact, resolved.table_memory)));
    RECPILE_ASSIGN_OR_RETURN(
        auto executor,
        Executor::Load(artifact, tables, {resolved.instances, resolved.fbgemm_dir, resolved.out_of_range}));
    std::unique_ptr<Engine> engine(new Engine(std::make_unique<Impl>(std::move(artifact), std::move(tables),
                                                                     std::move(executor), resolved, choose_instances)));
    RECPILE_RETURN_IF_ERROR(engine->impl_->WarmUp());
    return engine;
  };
  return Caught("loading", [&]() -> Result<std::unique_ptr<Engine>> {
    if (resolved.load_nice > 0) Executor::StartSharedThreads();
    // On a thread of its own: priority and libtorch's threads are set for it, not for the caller.
    RECPILE_ASSIGN_OR_RETURN(std::unique_ptr<Engine> engine,
                             std::async(std::launch::async, [&] { return Caught("loading", prepare); }).get());
    // Not on that thread, for the instances would inherit its priority. If this fails, the engine's destructor joins
    // whatever threads have been started.
    RECPILE_RETURN_IF_ERROR(engine->impl_->Start());
    return engine;
  });
}

const ModelInfo& Engine::model() const { return impl_->info; }

const EngineOptions& Engine::options() const { return impl_->options; }

const std::vector<InstanceTrial>& Engine::instance_trials() const { return impl_->trials; }

Status Engine::CheckRoom() { return impl_->Counted(impl_->queue.Room()); }

Status Engine::CheckTime(const InferRequest& request) {
  const Result<Urgency> urgency = UrgencyOf(request, impl_->options, Clock::now());
  // What is wrong with it is for Submit to say.
  return urgency.ok() ? impl_->Counted(impl_->queue.Admissible(urgency.value())) : Status();
}

size_t Engine::queued() const { return impl_->queue.size(); }

EngineStats Engine::stats() const {
  EngineStats stats = ReadStats(impl_->counters, impl_->info);
  stats.queued = impl_->queue.size();
  return stats;
}

const std::string& Engine::table_memory() const { return impl_->tables->choice().reason; }

Status Engine::Submit(InferRequest request, InferCallback done) {
  const std::shared_ptr<RequestTrace> trace = std::move(request.trace);
  const auto submit = [&]() -> Status {
    Wishes wishes{.partial_ok = request.partial_ok, .canceled = request.canceled, .trace = trace};
    RECPILE_ASSIGN_OR_RETURN(wishes.urgency, UrgencyOf(request, impl_->options, Clock::now()));
    if (wishes.urgency.deadline != kNever) RECPILE_RETURN_IF_ERROR(impl_->queue.Admissible(wishes.urgency));
    const Manifest& manifest = impl_->artifact->manifest();
    RECPILE_ASSIGN_OR_RETURN(CheckedRequest checked, CheckRequest(manifest, std::move(request), impl_->ids));
    std::vector<QueuedRequest> pieces =
        PiecesOf(std::move(checked), std::move(done), wishes, manifest, impl_->options.max_batch_size, impl_->queue);
    if (trace != nullptr) *trace = RequestTrace(wishes.urgency.since, pieces.size());
    return impl_->queue.Push(pieces);
  };
  return impl_->Counted(submit());
}

InferResult Engine::Infer(InferRequest request) {
  std::promise<InferResult> promise;
  std::future<InferResult> answer = promise.get_future();
  RECPILE_RETURN_IF_ERROR(
      Submit(std::move(request), [&promise](InferResult result) { promise.set_value(std::move(result)); }));
  return answer.get();
}

void Engine::HoldNothingBack() { impl_->queue.HoldNothingBack(); }

void Engine::Stop() { impl_->Stop(); }

}  // namespace recpile
