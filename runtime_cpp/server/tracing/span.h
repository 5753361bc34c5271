// OpenTelemetry's view of one infer request.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "recpile/engine.h"
#include "serving/context.h"

namespace recpile::tracing {

// The trace that a request belongs to.
struct TraceContext {
  std::string trace_id;   // 32 small hex digits
  std::string parent_id;  // 16, the client's span; empty: the trace begins here
  bool sampled = false;   // whether its spans are wanted
};

// Of a client's valid traceparent. Without one a new trace, of which a `ratio` (0 to 1) is sampled.
TraceContext ContextOf(std::string_view traceparent, double ratio);

// 16 small hex digits, not all zero, that no other span has.
std::string NewSpanId();

// What of a request outlives it until it is exported.
struct RequestSpan {
  TraceContext context;
  std::string span_id;
  std::string protocol, model, version, id, error;
  bool server_error = false;  // rather than the client's
  TraceTime start, end;
  std::vector<StageInfo> stages;              // of the model
  std::shared_ptr<const RequestTrace> trace;  // nobody writes to it any more; null: it never got to the engine
};
RequestSpan SpanOf(const serving::RequestRecord& record, TraceContext context);

}  // namespace recpile::tracing
