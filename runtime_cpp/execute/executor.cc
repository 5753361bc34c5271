#include "execute/executor.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <atomic>
#include <new>

#include "base/this_thread.h"
#include "execute/compiled_stage.h"
#include "execute/embedding_stage.h"
#include "execute/fbgemm_library.h"
#include "execute/side_by_side.h"
#include "execute/tensors.h"

namespace recpile {
namespace {

// The one place where what torch throws becomes a Status.
template <typename F>
Status Guarded(const std::string& what, F&& work) {
  try {
    work();
    return {};
  } catch (const c10::Error& error) {
    return Status::Internal(what + " failed: " + error.what_without_backtrace());
  } catch (const std::bad_alloc&) {
    return Status::Internal(what + " failed: out of memory");
  } catch (const std::exception& error) {
    return Status::Internal(what + " failed: " + error.what());
  } catch (...) {
    return Status::Internal(what + " failed: unknown exception");
  }
}

}  // namespace

class Executor::Frame {
 public:
  RunState state;
  std::vector<Scratch> scratch;  // by stage
  std::vector<Clock::duration> expected;
  std::vector<StageTrace> stages;
  std::vector<TableCounts> lookups;  // by table
};

void Executor::FrameDeleter::operator()(Frame* frame) const { delete frame; }

class Executor::Impl {
 public:
  std::shared_ptr<const Artifact> artifact;
  std::shared_ptr<const PlacedTables> tables;
  std::vector<std::unique_ptr<Stage>> stages;
  std::unique_ptr<SideBySide> side_by_side;  // none if each stage needs the one before it
  // What a candidate took in the last runs of each stage. A hint: a lost update does no harm.
  mutable std::vector<std::atomic<float>> row_ns;

  Status Load(const ExecutorOptions& options) {
    for (const StageSpec& spec : artifact->manifest().stages) {
      if (spec.kind == StageKind::kEmbedding) RECPILE_RETURN_IF_ERROR(LoadFbgemm(options.fbgemm_dir));
      RECPILE_RETURN_IF_ERROR(Guarded("loading stage '" + spec.name + "'", [&] {
        if (spec.kind == StageKind::kEmbedding) {
          stages.push_back(std::make_unique<EmbeddingStage>(spec, *artifact, tables->bytes(), options.out_of_range));
        } else {
          stages.push_back(std::make_unique<CompiledStage>(spec, artifact->open_path(), options.instances));
        }
      }));
    }
    row_ns = std::vector<std::atomic<float>>(stages.size());
    if (StageOrder order(artifact->manifest()); order.has_branches() && options.instances > 1) {
      side_by_side = std::make_unique<SideBySide>(std::move(order), options.instances, [](std::function<void()> task) {
        // On torch's inter-op threads, which take over the caller's inference mode.
        at::launch([task = std::move(task)] {
          InitThread();
          task();
        });
      });
    }
    return {};
  }

  Result<std::vector<Tensor>> Run(Frame& frame, const Batch& batch) const {
    RunState& state = frame.state;
    frame.stages.assign(stages.size(), {});
    frame.scratch.resize(stages.size());
    for (Scratch& scratch : frame.scratch) scratch.counts.clear();
    const c10::InferenceMode no_gradients;
    const Manifest& manifest = artifact->manifest();
    // Drops the values however this ends: inputs are borrowed, and nothing of a batch may outlive it here.
    struct Cleared {
      RunState& state;
      ~Cleared() { state.values.clear(); }
    } cleared{state};
    state.values.resize(static_cast<size_t>(manifest.values));
    state.made_up = batch.made_up;
    state.out_of_range = batch.out_of_range;
    std::vector<at::Tensor> borrowed;
    for (size_t i = 0; i < batch.inputs.size(); ++i) {
      const bool own = i == manifest.inputs.size();
      borrowed.push_back(View(batch.inputs[i]));
      state.values[own ? static_cast<size_t>(manifest.candidate_to_request) : i] = borrowed.back();
    }

    const Status ran = RunStages(frame, batch.candidates);
    CountLookups(frame);
    RECPILE_RETURN_IF_ERROR(ran);

    std::vector<Tensor> outputs;
    outputs.reserve(manifest.outputs.size());
    for (const OutputSpec& output : manifest.outputs) {
      const int64_t rows = output.axis == Axis::kRequest ? batch.requests : batch.candidates;
      RECPILE_ASSIGN_OR_RETURN(Tensor tensor,
                               Output(output, state.values[static_cast<size_t>(output.value)], borrowed, rows));
      outputs.push_back(std::move(tensor));
    }
    return outputs;
  }

 private:
  // Of the stages, which may have run side by side, into one.
  void CountLookups(Frame& frame) const {
    const Manifest& manifest = artifact->manifest();
    frame.lookups.assign(manifest.tables.size(), {});
    for (size_t i = 0; i < stages.size(); ++i) {
      for (size_t f = 0; f < frame.scratch[i].counts.size(); ++f) {
        TableCounts& table = frame.lookups[static_cast<size_t>(manifest.stages[i].features[f].table)];
        table.lookups += frame.scratch[i].counts[f].lookups;
        table.out_of_range += frame.scratch[i].counts[f].out_of_range;
      }
    }
  }

  Status RunStages(Frame& frame, int64_t candidates) const {
    const auto run = [&](size_t i) -> Status {
      const Clock::time_point start = Clock::now();
      RECPILE_RETURN_IF_ERROR(Guarded("stage '" + artifact->manifest().stages[i].name + "'",
                                      [&] { stages[i]->Run(frame.state, frame.scratch[i]); }));
      frame.stages[i] = {start, Clock::now(), ThisThread()};
      return {};
    };
    if (side_by_side == nullptr) {
      for (size_t i = 0; i < stages.size(); ++i) RECPILE_RETURN_IF_ERROR(run(i));
      return {};
    }
    frame.expected.resize(stages.size());
    for (size_t i = 0; i < stages.size(); ++i) {
      frame.expected[i] = Clock::duration(static_cast<int64_t>(row_ns[i].load() * static_cast<float>(candidates)));
    }
    RECPILE_RETURN_IF_ERROR(side_by_side->Run(run, frame.expected));
    for (size_t i = 0; i < stages.size(); ++i) {
      const float took = static_cast<float>((frame.stages[i].end - frame.stages[i].start).count()) /
                         static_cast<float>(std::max<int64_t>(candidates, 1));
      row_ns[i] = 0.8F * row_ns[i].load() + 0.2F * took;
    }
    return {};
  }

  // Checked, because the shared object decides what comes out, and its rows are cut by what the manifest says.
  static Result<Tensor> Output(const OutputSpec& output, const at::Tensor& computed,
                               const std::vector<at::Tensor>& borrowed, int64_t rows) {
    at::Tensor value = computed.contiguous();
    // A value that is an input, or a view of one, is about to be overwritten by the next batch.
    const bool alias = std::any_of(borrowed.begin(), borrowed.end(),
                                   [&](const at::Tensor& input) { return input.is_alias_of(value); });
    if (alias) value = value.clone();
    const bool fits = value.dim() == static_cast<int64_t>(output.spec.shape.size()) && value.size(0) == rows &&
                      value.scalar_type() == ToTorch(output.spec.dtype);
    if (!fits) {
      return Status::Internal("output '" + output.spec.name + "' came out as " + c10::toString(value.scalar_type()) +
                              ShapeToString(value.sizes().vec()) + " for " + std::to_string(rows) +
                              (output.axis == Axis::kRequest ? " requests" : " candidates"));
    }
    Tensor tensor{output.spec.name, output.spec.dtype, value.sizes().vec(), {}, nullptr};
    auto keep = std::make_shared<at::Tensor>(std::move(value));
    tensor.data = {static_cast<const std::byte*>(keep->const_data_ptr()), keep->nbytes()};
    tensor.owner = std::move(keep);
    return tensor;
  }
};

Executor::Executor(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Executor::~Executor() = default;

Result<std::unique_ptr<Executor>> Executor::Load(std::shared_ptr<const Artifact> artifact,
                                                 std::shared_ptr<const PlacedTables> tables,
                                                 const ExecutorOptions& options) {
  auto impl = std::make_unique<Impl>();
  impl->artifact = std::move(artifact);
  impl->tables = std::move(tables);
  RECPILE_RETURN_IF_ERROR(impl->Load(options));
  return std::unique_ptr<Executor>(new Executor(std::move(impl)));
}

Executor::FramePtr Executor::NewFrame() const { return FramePtr(new Frame); }

std::span<const StageTrace> Executor::Stages(const Frame& frame) { return frame.stages; }

std::span<const TableCounts> Executor::Lookups(const Frame& frame) { return frame.lookups; }

void Executor::InitThread() {
  // Of a thread's own in OpenMP.
  thread_local bool done = false;
  if (!done) at::set_num_threads(1);
  done = true;
}

void Executor::StartSharedThreads() {
  at::launch([] {});
}

Result<std::vector<Tensor>> Executor::Run(Frame& frame, const Batch& batch) const {
  Result<std::vector<Tensor>> outputs = Status::Internal("not run");
  const Status guarded = Guarded("running the model", [&] { outputs = impl_->Run(frame, batch); });
  if (!guarded.ok()) return guarded;
  return outputs;
}

}  // namespace recpile
