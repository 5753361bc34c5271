// What ran when: of a batch, and of a request.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace recpile {

using TraceTime = std::chrono::steady_clock::time_point;

// One run of a stage. Without length: it did not run.
struct StageTrace {
  TraceTime start, end;
  uint64_t thread = 0;  // the kernel's number
};

// When the parts of one batch ran.
struct BatchTrace {
  uint64_t id = 0;  // counts an engine's batches from 1
  int64_t candidates = 0;
  int64_t requests = 0;
  int64_t rows = 0;                // that the stages ran with: the candidates, and what they were padded with
  int64_t instance = 0;            // counts an engine's instances from 0
  uint64_t thread = 0;             // of the instance; stages may run on others, side by side
  TraceTime start;                 // the requests are being joined
  TraceTime joined;                // the stages begin
  std::vector<StageTrace> stages;  // in the order of ModelInfo::stages
  TraceTime end;                   // the answers are being cut out
};

// A request's share of a batch.
struct PieceTrace {
  std::shared_ptr<const BatchTrace> batch;  // null: it did not run
  int64_t candidates = 0;
  TraceTime split, answered;  // its answer was cut out of the batch's; without length: there was none
};

// What became of one request.
struct RequestTrace {
  RequestTrace() = default;
  RequestTrace(TraceTime at, size_t count) : submitted(at), pieces(count) {}

  TraceTime submitted;
  std::vector<PieceTrace> pieces;  // that the request was cut into, of most requests one
};

struct ModelInfo;
// Called when a batch's requests have been answered, at `answered`, on the thread that ran it: it must neither block
// nor throw.
using BatchObserver = std::function<void(const ModelInfo& model, const BatchTrace& batch, TraceTime answered)>;

}  // namespace recpile
