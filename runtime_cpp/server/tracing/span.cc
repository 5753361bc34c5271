#include "tracing/span.h"

#include <array>
#include <random>
#include <utility>

namespace recpile::tracing {
namespace {

using Json = nlohmann::json;

// The numbers of opentelemetry/proto/trace/v1/trace.proto.
constexpr int kInternal = 1, kServer = 2;
constexpr int kStatusError = 2;

std::mt19937_64& Random() {
  thread_local std::mt19937_64 random{std::random_device{}()};
  return random;
}

// `words` times 16 hex digits, not all of them zero.
std::string NewId(int words) {
  std::string id;
  while (words-- > 0) {
    uint64_t bits = 0;
    while (bits == 0) bits = Random()();
    for (int shift = 60; shift >= 0; shift -= 4) id += "0123456789abcdef"[(bits >> shift) & 15];
  }
  return id;
}

int64_t UnixNanoseconds(TraceTime time) {
  // Read once: spans of one request must fit together, and the wall clock may be set.
  static const auto ahead =
      std::chrono::system_clock::now().time_since_epoch() - std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch() + ahead).count();
}

Json Text(const char* key, const std::string& value) { return {{"key", key}, {"value", {{"stringValue", value}}}}; }
// Numbers of 64 bits are text in OTLP's JSON.
Json Number(const char* key, int64_t value) { return {{"key", key}, {"value", {{"intValue", std::to_string(value)}}}}; }

Json Span(const RequestSpan& request, const std::string& id, const std::string& parent, const std::string& name,
          int kind, int64_t start, int64_t end, Json attributes = Json::array()) {
  Json span = {{"traceId", request.context.trace_id},
               {"spanId", id},
               {"name", name},
               {"kind", kind},
               {"startTimeUnixNano", std::to_string(start)},
               {"endTimeUnixNano", std::to_string(end)},
               {"attributes", std::move(attributes)}};
  if (!parent.empty()) span["parentSpanId"] = parent;
  return span;
}

void AddSpans(const RequestSpan& request, Json& spans) {
  const std::string id = NewId(1);
  Json attributes = {Text("rpc.system", request.protocol == "grpc" ? "grpc" : "http"),
                     Text("recpile.model", request.model), Text("recpile.version", request.version)};
  if (!request.id.empty()) attributes.push_back(Text("recpile.request_id", request.id));
  Json span = Span(request, id, request.context.parent_id, "infer " + request.model, kServer, request.start,
                   request.end, std::move(attributes));
  if (!request.error.empty()) {
    span["status"] = {{"message", request.error}};
    // By convention a server's span is in error only where the server is to blame.
    if (request.server_error) span["status"]["code"] = kStatusError;
  }
  spans.push_back(std::move(span));
  if (request.batch == nullptr) return;
  spans.push_back(Span(request, NewId(1), id, "queue", kInternal, request.submitted, request.run_start));
  spans.push_back(Span(request, NewId(1), id, "run", kInternal, request.run_start, request.run_end,
                       {Number("recpile.batch", static_cast<int64_t>(request.batch->id)),
                        Number("recpile.batch.requests", request.batch->requests),
                        Number("recpile.batch.candidates", request.batch->candidates)}));
}

}  // namespace

TraceContext ContextOf(std::string_view traceparent, double ratio) {
  if (traceparent.empty()) {
    return {NewId(2), "", std::uniform_real_distribution<double>()(Random()) < ratio};
  }
  // "00-" trace id "-" span id "-" flags, whose lowest bit says sampled.
  const bool sampled = std::string_view("13579bdf").find(traceparent[54]) != std::string_view::npos;
  return {std::string(traceparent.substr(3, 32)), std::string(traceparent.substr(36, 16)), sampled};
}

RequestSpan SpanOf(const serving::RequestRecord& record, TraceContext context) {
  RequestSpan span{
      .context = std::move(context),
      .protocol = std::string(record.protocol),
      .model = std::string(record.model),
      .version = std::string(record.version),
      .id = std::string(record.id.substr(0, 200)),
      .error = record.status.message(),
      .server_error = record.status.code() == StatusCode::kInternal || record.status.code() == StatusCode::kUnavailable,
      .start = UnixNanoseconds(record.started),
      .end = UnixNanoseconds(record.started + record.elapsed)};
  const serving::RunTimes ran = serving::RunTimesOf(record.trace);
  if (ran.batch == nullptr) return span;
  span.batch = ran.batch;
  span.submitted = UnixNanoseconds(ran.submitted);
  span.run_start = UnixNanoseconds(ran.start);
  span.run_end = UnixNanoseconds(ran.end);
  return span;
}

Json ExportRequest(const std::vector<RequestSpan>& requests, const std::string& server_version) {
  Json spans = Json::array();
  for (const RequestSpan& request : requests) AddSpans(request, spans);
  const Json resource = {
      {"attributes", {Text("service.name", "recpile-server"), Text("service.version", server_version)}}};
  const Json scope = {{"scope", {{"name", "recpile-server"}, {"version", server_version}}}, {"spans", spans}};
  return {{"resourceSpans", Json::array({{{"resource", resource}, {"scopeSpans", Json::array({scope})}}})}};
}

}  // namespace recpile::tracing
