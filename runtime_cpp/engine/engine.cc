#include "recpile/engine.h"

#include <atomic>
#include <chrono>
#include <future>
#include <mutex>
#include <thread>

#include "artifact/artifact.h"
#include "base/cores.h"
#include "coalesce/coalescer.h"
#include "engine/request_queue.h"
#include "execute/executor.h"

namespace recpile {
namespace {

uint64_t Nanoseconds(Clock::duration duration) {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(duration).count());
}

ModelInfo Describe(const Manifest& manifest) {
  ModelInfo info{manifest.name, manifest.version, {}, {}, {}, {}};
  for (const InputTensor& input : manifest.inputs) info.inputs.push_back(input.spec);
  for (const OutputSpec& output : manifest.outputs) info.outputs.push_back(output.spec);
  for (const StageSpec& stage : manifest.stages) {
    info.stages.push_back({stage.name, stage.kind == StageKind::kEmbedding ? "embedding" : "compiled"});
  }
  for (const Table& table : manifest.tables) {
    info.tables.push_back({table.name, table.dtype, table.rows, table.dim, table.rows * table.row_bytes});
  }
  return info;
}

// A request of `rows` candidates, all zero and with empty bags. Of what the request axis holds there is one row.
Result<CheckedRequest> WarmUpRequest(const Manifest& manifest, int64_t rows) {
  InferRequest request;
  for (const InputTensor& input : manifest.inputs) {
    Tensor tensor{input.spec.name, input.spec.dtype, input.spec.shape, {}, nullptr};
    const bool ids = input.role == InputRole::kValues || input.role == InputRole::kWeights;
    size_t bytes = DTypeBytes(input.spec.dtype);
    for (int64_t& size : tensor.shape) {
      if (size == -1) size = ids ? 0 : rows;
      bytes *= static_cast<size_t>(size);
    }
    auto zeros = std::make_shared<std::vector<std::byte>>(bytes);
    tensor.data = *zeros;
    tensor.owner = zeros;
    request.inputs.push_back(std::move(tensor));
  }
  return CheckRequest(manifest, std::move(request));
}

// For what may run out of memory or threads on the way: no exception crosses the engine's boundary.
template <typename F>
auto Caught(const char* what, F&& work) -> decltype(work()) {
  try {
    return work();
  } catch (const std::exception& error) {
    return Status::Internal(std::string(what) + " failed: " + error.what());
  }
}

}  // namespace

class Engine::Impl {
 public:
  Impl(std::shared_ptr<const Artifact> opened, std::unique_ptr<Executor> loaded, const EngineOptions& chosen)
      : artifact(std::move(opened)),
        executor(std::move(loaded)),
        options(chosen),
        info(Describe(artifact->manifest())),
        queue({chosen.max_batch_size, std::chrono::microseconds(chosen.max_queue_delay_microseconds)},
              static_cast<size_t>(chosen.max_queue_size)) {}

  // On a thread of its own: setting threads and warming up must not change the caller's.
  Status WarmUp() {
    return std::async(std::launch::async,
                      [this]() -> Status {
                        Executor::InitThread();
                        Instance instance(*this);
                        for (const int64_t rows : {int64_t{1}, int64_t{2}}) {
                          RECPILE_ASSIGN_OR_RETURN(const CheckedRequest request,
                                                   WarmUpRequest(artifact->manifest(), rows));
                          const CheckedRequest* const one[] = {&request};
                          RECPILE_RETURN_IF_ERROR(instance.Execute(one).status());
                        }
                        return {};
                      })
        .get();
  }

  Status Start() {
    return Caught("starting the instances", [&]() -> Status {
      for (int i = 0; i < options.instances; ++i) {
        threads.emplace_back([this] {
          Executor::InitThread();
          Instance(*this).Serve();
        });
      }
      return {};
    });
  }

  void Stop() {
    const std::lock_guard lock(stopping);
    queue.Close();
    for (std::thread& thread : threads) thread.join();
    threads.clear();
  }

  // What waits for a request: itself, or its pieces if it is too large for one batch.
  std::vector<QueuedRequest> Pieces(CheckedRequest request, InferCallback done) const {
    std::vector<QueuedRequest> pieces;
    const Clock::time_point now = Clock::now();
    if (request.rows <= options.max_batch_size) {
      const int64_t rows = request.rows;
      pieces.push_back({std::move(request), std::move(done), rows, now, nullptr, 0});
      return pieces;
    }
    std::vector<CheckedRequest> cut = Cut(artifact->manifest(), request, options.max_batch_size);
    const auto whole = std::make_shared<Assembly>(artifact->manifest(), cut.size());
    for (CheckedRequest& piece : cut) {
      const int64_t rows = piece.rows;
      pieces.push_back({std::move(piece), done, rows, now, whole, pieces.size()});
    }
    return pieces;
  }

  // One thread's share: it runs batches, one at a time, until the queue is closed and empty.
  class Instance {
   public:
    explicit Instance(Impl& engine) : engine_(engine), frame_(engine.executor->NewFrame()) {}

    void Serve() {
      while (true) {
        std::vector<QueuedRequest> batch = engine_.queue.PopBatch();
        if (batch.empty()) return;
        const Clock::time_point start = Clock::now();
        for (const QueuedRequest& request : batch) engine_.queue_ns += Nanoseconds(start - request.since);
        Answer(batch);
      }
    }

    Result<std::vector<Tensor>> Execute(std::span<const CheckedRequest* const> requests) {
      return Caught("coalescing", [&]() -> Result<std::vector<Tensor>> {
        return engine_.executor->Run(*frame_, Coalesce(engine_.artifact->manifest(), requests, buffers_));
      });
    }

   private:
    void Answer(std::vector<QueuedRequest>& batch) {
      std::vector<const CheckedRequest*> requests;
      for (const QueuedRequest& request : batch) requests.push_back(&request.checked);
      const Clock::time_point start = Clock::now();
      const Result<std::vector<Tensor>> outputs = Execute(requests);
      engine_.compute_ns += Nanoseconds(Clock::now() - start);
      ++engine_.batches;
      if (!outputs.ok() && batch.size() > 1) {
        // One request may be to blame: alone, each gets the answer that it would have got without company.
        for (QueuedRequest& request : batch) {
          std::vector<QueuedRequest> alone;
          alone.push_back(std::move(request));
          Answer(alone);
        }
        return;
      }
      Rows rows;
      for (QueuedRequest& request : batch) {
        rows.count = request.rows;
        if (outputs.ok()) engine_.samples += static_cast<uint64_t>(rows.count);
        Finish(request, outputs.ok() ? InferResult(Split(engine_.artifact->manifest(), outputs.value(), rows))
                                     : InferResult(outputs.status()));
        rows.first += rows.count;
        ++rows.request;
      }
    }

    // The request's answer, or a piece of it.
    void Finish(QueuedRequest& request, InferResult answer) {
      if (request.whole != nullptr) {
        std::optional<InferResult> whole = request.whole->Add(request.piece, std::move(answer));
        if (!whole) return;
        answer = *std::move(whole);
      }
      ++(answer.ok() ? engine_.requests_ok : engine_.requests_failed);
      request.done(std::move(answer));
    }

    Impl& engine_;
    Executor::FramePtr frame_;
    BatchBuffers buffers_;
  };

  const std::shared_ptr<const Artifact> artifact;
  const std::unique_ptr<Executor> executor;
  const EngineOptions options;
  const ModelInfo info;
  RequestQueue queue;
  std::mutex stopping;
  std::vector<std::thread> threads;  // guarded by stopping, once started
  std::atomic<uint64_t> requests_ok = 0;
  std::atomic<uint64_t> requests_failed = 0;
  std::atomic<uint64_t> requests_rejected = 0;
  std::atomic<uint64_t> samples = 0;
  std::atomic<uint64_t> batches = 0;
  std::atomic<uint64_t> queue_ns = 0;
  std::atomic<uint64_t> compute_ns = 0;
};

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Engine::~Engine() { Stop(); }

Result<std::unique_ptr<Engine>> Engine::Load(const std::string& path, const EngineOptions& options) {
  RECPILE_RETURN_IF_ERROR(options.Validate());
  EngineOptions resolved = options;
  if (resolved.instances == 0) resolved.instances = AvailableCores();
  return Caught("loading", [&]() -> Result<std::unique_ptr<Engine>> {
    RECPILE_ASSIGN_OR_RETURN(auto artifact, Artifact::Open(path, options.verify_checksums, ThisMachine()));
    RECPILE_ASSIGN_OR_RETURN(auto executor, Executor::Load(artifact, {resolved.instances, resolved.fbgemm_dir}));
    // Owned by an engine from here on: its destructor joins whatever threads have been started.
    std::unique_ptr<Engine> engine(
        new Engine(std::make_unique<Impl>(std::move(artifact), std::move(executor), resolved)));
    RECPILE_RETURN_IF_ERROR(engine->impl_->WarmUp());
    RECPILE_RETURN_IF_ERROR(engine->impl_->Start());
    return engine;
  });
}

const ModelInfo& Engine::model() const { return impl_->info; }

const EngineOptions& Engine::options() const { return impl_->options; }

EngineStats Engine::stats() const {
  return {impl_->requests_ok, impl_->requests_failed, impl_->requests_rejected, impl_->samples,
          impl_->batches,     impl_->queue.size(),    impl_->queue_ns,          impl_->compute_ns};
}

Status Engine::Submit(InferRequest request, InferCallback done) {
  const auto submit = [&]() -> Status {
    RECPILE_ASSIGN_OR_RETURN(CheckedRequest checked, CheckRequest(impl_->artifact->manifest(), std::move(request)));
    std::vector<QueuedRequest> pieces = impl_->Pieces(std::move(checked), std::move(done));
    return impl_->queue.Push(pieces);
  };
  Status status = submit();
  if (!status.ok()) ++impl_->requests_rejected;
  return status;
}

InferResult Engine::Infer(InferRequest request) {
  std::promise<InferResult> promise;
  std::future<InferResult> answer = promise.get_future();
  RECPILE_RETURN_IF_ERROR(
      Submit(std::move(request), [&promise](InferResult result) { promise.set_value(std::move(result)); }));
  return answer.get();
}

void Engine::Stop() { impl_->Stop(); }

}  // namespace recpile
