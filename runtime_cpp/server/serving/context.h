// What the protocols share.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "recpile/status.h"
#include "serving/byte_budget.h"
#include "serving/models.h"
#include "serving/repository.h"
#include "serving/shared_memory.h"
#include "serving/span_counts.h"

namespace recpile::serving {

// One infer request, when its answer is known.
struct RequestRecord {
  std::string_view protocol;  // "http" or "grpc"
  std::string_view model;
  std::string_view version;
  std::string_view id;           // what the client called it; may be empty
  std::string_view traceparent;  // of the client's trace, W3C form; may be empty
  Status status;
  TraceTime started;
  std::chrono::nanoseconds elapsed{};
  std::shared_ptr<const RequestTrace> trace = nullptr;  // null: nobody asked, or it never got to the engine
  std::string_view trace_id = {};                       // of the client's trace, or of one that began here
  std::span<const StageInfo> stages = {};               // of the model
};

// When a request ran: from the start of its first piece to the end of its last.
struct RunTimes {
  std::shared_ptr<const BatchTrace> batch;  // of the piece that began first; null: none has run
  TraceTime submitted, start, end;
};
RunTimes RunTimesOf(const std::shared_ptr<const RequestTrace>& trace);

struct Context {
  const Models* models = nullptr;
  Repository* repository = nullptr;  // null: one artifact, named on the command line
  SharedMemory* memory = nullptr;    // null: off
  ByteBudget* budget = nullptr;      // null: without limit
  std::string server_version;
  // Called for each infer request, on a protocol's thread; must be thread-safe and not block. Empty: nobody listens.
  std::function<void(const RequestRecord&)> log;
  bool trace = false;                       // whether that wants RequestRecord::trace
  const SpanCounts* span_counts = nullptr;  // null: no spans are exported
};

// What the repository holds; without one, what is served.
std::vector<RepositoryEntry> Index(const Context& context);

// The refusal to load or unload where there is no repository.
Status NoRepository();

}  // namespace recpile::serving
