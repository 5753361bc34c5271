#include "tracing/span.h"

#include <random>
#include <utility>

namespace recpile::tracing {
namespace {

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

}  // namespace

TraceContext ContextOf(std::string_view traceparent, double ratio) {
  if (traceparent.empty()) {
    return {NewId(2), "", std::uniform_real_distribution<double>()(Random()) < ratio};
  }
  // "00-" trace id "-" span id "-" flags, whose lowest bit says sampled.
  const bool sampled = std::string_view("13579bdf").find(traceparent[54]) != std::string_view::npos;
  return {std::string(traceparent.substr(3, 32)), std::string(traceparent.substr(36, 16)), sampled};
}

std::string NewSpanId() { return NewId(1); }

RequestSpan SpanOf(const serving::RequestRecord& record, TraceContext context) {
  const StatusCode code = record.status.code();
  return {.context = std::move(context),
          .span_id = NewSpanId(),
          .protocol = std::string(record.protocol),
          .model = std::string(record.model),
          .version = std::string(record.version),
          .id = std::string(record.id.substr(0, 200)),
          .error = record.status.message(),
          .server_error = code == StatusCode::kInternal || code == StatusCode::kUnavailable,
          .start = record.started,
          .end = record.started + record.elapsed,
          .stages = {record.stages.begin(), record.stages.end()},
          .trace = record.trace};
}

}  // namespace recpile::tracing
