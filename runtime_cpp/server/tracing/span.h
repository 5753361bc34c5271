// OpenTelemetry's view of one infer request.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
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

// What of a request outlives it until it is exported. Times are Unix time in nanoseconds.
struct RequestSpan {
  TraceContext context;
  std::string protocol, model, version, id, error;
  bool server_error = false;  // rather than the client's
  int64_t start = 0, end = 0;
  // If it ran.
  std::shared_ptr<const BatchTrace> batch;
  int64_t submitted = 0, run_start = 0, run_end = 0;
};
RequestSpan SpanOf(const serving::RequestRecord& record, TraceContext context);

// The body of an OTLP/HTTP export request: a server span a request, and in it how long it waited and ran.
nlohmann::json ExportRequest(const std::vector<RequestSpan>& requests, const std::string& server_version);

}  // namespace recpile::tracing
