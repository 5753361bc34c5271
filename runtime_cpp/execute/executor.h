// Runs the DAG of stages on one batch. This header is plain C++; what is behind it is libtorch and FBGEMM.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "artifact/artifact.h"
#include "artifact/table_memory.h"
#include "coalesce/coalescer.h"
#include "coalesce/run_cost.h"
#include "execute/table_counts.h"
#include "recpile/engine.h"
#include "recpile/status.h"
#include "recpile/tensor.h"

namespace recpile {

struct ExecutorOptions {
  int instances = 1;  // runs that may be under way at once
  std::string fbgemm_dir;
  OutOfRange out_of_range = OutOfRange::kError;  // of ids that stages compute
};

// Immutable once loaded, and shared by all instances.
class Executor {
 public:
  // What one run changes. An instance owns one and uses it for one run at a time.
  class Frame;
  struct FrameDeleter {
    void operator()(Frame* frame) const;
  };
  using FramePtr = std::unique_ptr<Frame, FrameDeleter>;

  // Loads the stages' code from `artifact`, which has been verified, and keeps it mapped.
  static Result<std::unique_ptr<Executor>> Load(std::shared_ptr<const Artifact> artifact,
                                                std::shared_ptr<const PlacedTables> tables,
                                                const ExecutorOptions& options);
  ~Executor();

  FramePtr NewFrame() const;

  // On every thread that calls Run: an operator keeps to its thread, so that instances do not share cores. Stages that
  // do not need each other may run on threads of their own while fewer than `instances` are busy (side_by_side.h).
  static void InitThread();

  // Starts the threads that all executors share, if they are not there yet: with the priority of the calling thread,
  // while the first run that needs them may be on one of low priority.
  static void StartSharedThreads();

  // `batch` holds checked requests and must stay alive during the call. The outputs own their memory. Internal, naming
  // the stage, if one fails.
  Result<std::vector<Tensor>> Run(Frame& frame, const Batch& batch) const;

  // When each stage of the frame's last run ran, and where; of a run that failed, some have not.
  static std::span<const StageTrace> Stages(const Frame& frame);

  // What the frame's last run looked up, in the order of Manifest::tables.
  static std::span<const TableCounts> Lookups(const Frame& frame);

 private:
  class Impl;
  explicit Executor(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace recpile
