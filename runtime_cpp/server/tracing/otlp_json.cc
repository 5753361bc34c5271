#include "tracing/otlp_json.h"

#include <algorithm>
#include <chrono>
#include <initializer_list>
#include <iterator>
#include <span>
#include <string_view>
#include <unordered_map>

#include "kserve/json_text.h"

namespace recpile::tracing {
namespace {

using kserve::QuotedJson;

// The numbers of opentelemetry/proto/trace/v1/trace.proto.
constexpr int kInternal = 1, kServer = 2;
constexpr int kStatusError = 2;

// Links of one span; of the rest it is said how many there are.
constexpr size_t kMostLinks = 32;

using Requests = std::vector<const RequestSpan*>;
using Sharing = std::unordered_map<const BatchTrace*, Requests>;

std::string UnixNanoseconds(TraceTime time) {
  // Read once: spans of one request must fit together, and the wall clock may be set.
  static const auto ahead =
      std::chrono::system_clock::now().time_since_epoch() - std::chrono::steady_clock::now().time_since_epoch();
  return std::to_string(std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch() + ahead).count());
}

std::string Text(std::string_view key, const std::string& value) {
  return "{\"key\":\"" + std::string(key) + "\",\"value\":{\"stringValue\":" + QuotedJson(value) + "}}";
}

// Numbers of 64 bits are text in OTLP's JSON.
std::string Number(std::string_view key, auto value) {
  return "{\"key\":\"" + std::string(key) + "\",\"value\":{\"intValue\":\"" + std::to_string(value) + "\"}}";
}

std::string Joined(std::initializer_list<std::string> attributes) {
  std::string joined;
  for (const std::string& attribute : attributes) joined += (joined.empty() ? "" : ",") + attribute;
  return joined;
}

// Appends spans, with a comma behind each. Written as text, for there may be a dozen a request: a tree of JSON values
// takes several times as long.
class SpanWriter {
 public:
  explicit SpanWriter(std::string* out) : out_(out) {}

  void Add(const RequestSpan& request, const Sharing& sharing) {
    const std::string id = request.id.empty() ? "" : "," + Text("recpile.request_id", request.id);
    Span(request, request.span_id, request.context.parent_id, "infer " + request.model, kServer, request.start,
         request.end,
         Joined({Text("rpc.system", request.protocol == "grpc" ? "grpc" : "http"), Text("recpile.model", request.model),
                 Text("recpile.version", request.version)}) +
             id,
         Failure(request));
    if (request.trace == nullptr) return;
    const std::span pieces = request.trace->pieces;
    for (size_t i = 0; i < pieces.size(); ++i) {
      const BatchTrace* const batch = pieces[i].batch.get();
      const auto same = [&](const PieceTrace& piece) { return piece.batch.get() == batch; };
      if (batch == nullptr || batch->id == 0 || std::ranges::any_of(pieces.first(i), same)) continue;
      AddRun(request, *batch, sharing.at(batch));
    }
  }

 private:
  void AddRun(const RequestSpan& request, const BatchTrace& batch, const Requests& beside) {
    std::vector<PieceTrace> pieces;
    std::ranges::copy_if(request.trace->pieces, std::back_inserter(pieces),
                         [&](const PieceTrace& piece) { return piece.batch.get() == &batch; });
    int64_t candidates = 0;
    TraceTime end = batch.end;
    for (const PieceTrace& piece : pieces) {
      candidates += piece.candidates;
      end = std::max(end, piece.answered);
    }
    const std::string run = NewSpanId();
    Span(request, NewSpanId(), request.span_id, "queue", kInternal, request.trace->submitted, batch.start);
    const std::string size =
        Joined({Number("recpile.batch.candidates", batch.candidates), Number("recpile.batch.rows", batch.rows),
                Number("recpile.instance", batch.instance)});
    Span(request, run, request.span_id, "run", kInternal, batch.start, end,
         Joined({Number("recpile.batch", batch.id), Number("recpile.batch.requests", batch.requests),
                 Number("recpile.candidates", candidates), size}),
         Links(request, beside));
    Span(request, NewSpanId(), run, "coalesce", kInternal, batch.start, batch.joined);
    for (size_t i = 0; i < std::min(batch.stages.size(), request.stages.size()); ++i) {
      const StageTrace& stage = batch.stages[i];
      if (stage.end == stage.start) continue;
      Span(request, NewSpanId(), run, request.stages[i].name, kInternal, stage.start, stage.end,
           Joined({Text("recpile.stage.kind", request.stages[i].kind), size, Number("thread.id", stage.thread)}));
    }
    for (const PieceTrace& piece : pieces) {
      if (piece.answered == piece.split) continue;
      Span(request, NewSpanId(), run, "split", kInternal, piece.split, piece.answered);
    }
  }

  // `more`: further fields, each with a comma before it.
  void Span(const RequestSpan& request, const std::string& id, const std::string& parent, const std::string& name,
            int kind, TraceTime start, TraceTime end, const std::string& attributes = "",
            const std::string& more = "") {
    *out_ += "{\"traceId\":\"" + request.context.trace_id + "\",\"spanId\":\"" + id + "\",";
    if (!parent.empty()) *out_ += "\"parentSpanId\":\"" + parent + "\",";
    *out_ += "\"name\":" + QuotedJson(name) + ",\"kind\":" + std::to_string(kind) + ",\"startTimeUnixNano\":\"" +
             UnixNanoseconds(start) + "\",\"endTimeUnixNano\":\"" + UnixNanoseconds(end) + "\",\"attributes\":[" +
             attributes + "]" + more + "},";
  }

  static std::string Failure(const RequestSpan& request) {
    if (request.error.empty()) return "";
    // By convention a server's span is in error only where the server is to blame.
    const std::string code = request.server_error ? ",\"code\":" + std::to_string(kStatusError) : "";
    return ",\"status\":{\"message\":" + QuotedJson(request.error) + code + "}";
  }

  static std::string Links(const RequestSpan& request, const Requests& beside) {
    const size_t others = beside.size() - 1, shown = std::min(others, kMostLinks);
    if (others == 0) return "";
    std::string links;
    size_t left = shown;
    for (const RequestSpan* other : beside) {
      if (other == &request || left == 0) continue;
      --left;
      links += "{\"traceId\":\"" + other->context.trace_id + "\",\"spanId\":\"" + other->span_id + "\"},";
    }
    links.pop_back();
    const std::string dropped = others > shown ? ",\"droppedLinksCount\":" + std::to_string(others - shown) : "";
    return ",\"links\":[" + links + "]" + dropped;
  }

  std::string* const out_;
};

}  // namespace

std::string ExportRequest(const std::vector<RequestSpan>& requests, const std::string& server_version) {
  Sharing sharing;
  for (const RequestSpan& request : requests) {
    if (request.trace == nullptr) continue;
    for (const PieceTrace& piece : request.trace->pieces) {
      Requests& beside = sharing[piece.batch.get()];
      // Two pieces of one request may have run in one batch.
      if (beside.empty() || beside.back() != &request) beside.push_back(&request);
    }
  }
  std::string body =
      "{\"resourceSpans\":[{\"resource\":{\"attributes\":[" +
      Joined({Text("service.name", "recpile-server"), Text("service.version", server_version)}) +
      "]},\"scopeSpans\":[{\"scope\":{\"name\":\"recpile-server\",\"version\":" + QuotedJson(server_version) +
      "},\"spans\":[";
  SpanWriter writer(&body);
  for (const RequestSpan& request : requests) writer.Add(request, sharing);
  if (!requests.empty()) body.pop_back();
  return body + "]}]}]}";
}

}  // namespace recpile::tracing
