#include "http/service.h"

#include <charconv>
#include <chrono>
#include <memory>
#include <new>
#include <utility>

#include "http/status.h"
#include "kserve/infer_codec.h"
#include "kserve/metadata.h"
#include "kserve/request_json.h"
#include "serving/rest.h"
#include "serving/traceparent.h"

namespace recpile::http {
namespace {

using kserve::Excerpt;
using serving::Clock;

Result<std::optional<size_t>> ParseJsonLength(const std::string& text) {
  if (text.empty()) return std::optional<size_t>();
  size_t length = 0;
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, length);
  if (parsed.ec == std::errc() && parsed.ptr == end) return std::optional<size_t>(length);
  return Status::InvalidArgument("Inference-Header-Content-Length is \"" + Excerpt(text) +
                                 "\"; it must be the length of the JSON part in bytes");
}

Result<kserve::DecodedRequest> Decode(const Request& request, const ModelInfo& model,
                                      const serving::SharedMemory* memory) {
  kserve::RequestBody body{.bytes = request.body, .owner = request.body_owner};
  RECPILE_ASSIGN_OR_RETURN(body.json_length, ParseJsonLength(request.head.json_length));
  return kserve::DecodeInferRequest(body, model, memory);
}

Response Encode(const ModelInfo& model, const std::string& id, const std::vector<kserve::OutputChoice>& choices,
                const InferResult& result, const serving::SharedMemory* memory) {
  if (!result.ok()) return Failure(result.status());
  Result<kserve::EncodedResponse> encoded =
      kserve::EncodeInferResponse(model, id, choices, result.value(), memory, result.left_out);
  if (!encoded.ok()) return Failure(encoded.status());
  Response response{.body = std::move(encoded.value().body), .json_length = encoded.value().json_length};
  if (response.json_length) response.content_type = "application/octet-stream";
  return response;
}

}  // namespace

Response ErrorResponse(int status, std::string_view message) {
  return {.status = status, .body = kserve::ErrorJson(message), .retry_after = status == 503};
}

Response Failure(const Status& status) { return ErrorResponse(HttpStatus(status.code()), status.message()); }

// A request that is at the engine.
struct Service::Pending {
  serving::ModelPtr model;
  Clock::time_point started;
  std::string id;
  std::vector<kserve::OutputChoice> outputs;
  std::string traceparent;
  Done done;
  std::shared_ptr<RequestTrace> trace;
  serving::ByteBudget::Share held;
};

Service::Service(serving::Context context) : context_(std::move(context)) {}

std::optional<Response> Service::Refuse(const RequestHead& head) const {
  return Refuse(head, ParseTarget(head.target));
}

std::optional<Response> Service::Refuse(const RequestHead& head, const Route& route) const {
  if (route.endpoint == Endpoint::kUnknown) {
    return ErrorResponse(
        404, "there is nothing at '" + Excerpt(head.target) + "'; see /v2, /v2/health/ready and /v2/models/NAME");
  }
  if (!MethodAllowed(route.endpoint, head.method)) {
    const std::string allow(AllowedMethods(route.endpoint));
    Response response =
        ErrorResponse(405, "the path '" + Excerpt(head.target) + "' takes " + allow + ", not " + Excerpt(head.method));
    response.allow = allow;
    return response;
  }
  const bool of_repository =
      route.endpoint == Endpoint::kRepositoryLoad || route.endpoint == Endpoint::kRepositoryUnload;
  if (!route.model.empty() && !of_repository) {
    const auto model = context_.models->Find(route.model, route.version);
    if (!model.ok()) return Failure(model.status());
  }
  if (route.endpoint == Endpoint::kModelInfer && !head.content_encoding.empty() &&
      head.content_encoding != "identity") {
    return ErrorResponse(
        415, "Content-Encoding '" + Excerpt(head.content_encoding) + "' is not supported; send the body uncompressed");
  }
  return std::nullopt;
}

std::optional<Response> Service::RefuseEarly(const RequestHead& head, std::string_view beginning) const {
  const Clock::time_point started = head.arrived;
  const Route route = ParseTarget(head.target);
  if (route.endpoint != Endpoint::kModelInfer) return std::nullopt;
  const auto found = context_.models->Find(route.model, route.version);
  if (!found.ok()) return std::nullopt;
  Pending pending{.model = found.value(), .started = started, .traceparent = head.traceparent};
  Status status = serving::CheckRoom(pending.model, started);
  std::chrono::microseconds timeout{0};
  const Result<std::optional<size_t>> length = ParseJsonLength(head.json_length);
  // Where nothing waits, there is time.
  const bool readable = length.ok() && length.value() && *length.value() <= beginning.size();
  if (status.ok() && readable && pending.model->queued() > 0) {
    if (auto peeked = kserve::PeekInferRequest(beginning.substr(0, *length.value()))) {
      pending.id = std::move(peeked->id);
      peeked->request.arrived = started;
      timeout = std::chrono::microseconds(peeked->request.timeout_microseconds);
      status = serving::CheckTime(pending.model, peeked->request, started);
    }
  }
  if (status.ok()) return std::nullopt;
  Response refusal = Finished(pending, status);
  refusal.rest = serving::RestAfterRefusal(timeout);
  return refusal;
}

Response Service::RefuseForRoom(const RequestHead& head) const {
  const Status refused = Status::Unavailable(context_.budget->Refusal());
  const Route route = ParseTarget(head.target);
  const auto found = context_.models->Find(route.model, route.version);
  if (route.endpoint != Endpoint::kModelInfer || !found.ok()) return Failure(refused);
  found.value()->meter->Answered(refused.code(), Clock::now() - head.arrived);
  return Finished({.model = found.value(), .started = head.arrived, .traceparent = head.traceparent}, refused);
}

void Service::Handle(Request request, Done done) {
  const Route route = ParseTarget(request.head.target);
  if (std::optional<Response> refusal = Refuse(request.head, route)) {
    return done([refusal = std::move(*refusal)] { return refusal; });
  }
  switch (route.endpoint) {
    case Endpoint::kModelInfer:
      return Infer(std::move(request), route, std::move(done));
    case Endpoint::kRepositoryIndex:
    case Endpoint::kRepositoryLoad:
    case Endpoint::kRepositoryUnload:
      return ControlRepository(request, route, std::move(done));
    case Endpoint::kMemoryStatus:
    case Endpoint::kMemoryRegister:
    case Endpoint::kMemoryUnregister:
      return done([answer = ControlMemory(request, route)] { return answer; });
    default:
      done([this, route] { return Get(route); });
  }
}

Response Service::Get(const Route& route) const {
  switch (route.endpoint) {
    case Endpoint::kServerMetadata:
      return {.body = kserve::ServerMetadataJson(context_.server_version, context_.memory != nullptr)};
    case Endpoint::kServerLive:
      return {};
    case Endpoint::kServerReady:
    case Endpoint::kModelReady:
      return draining_ ? ErrorResponse(503, "the server is shutting down") : Response{};
    case Endpoint::kAllStats:
      return {.body = kserve::ModelStatsJson(context_.models->List())};
    default:
      break;
  }
  const auto found = context_.models->Find(route.model, route.version);
  if (!found.ok()) return Failure(found.status());  // unloaded a moment ago
  const serving::ModelPtr& model = found.value();
  const bool all = route.version.empty();
  switch (route.endpoint) {
    case Endpoint::kModelMetadata:
      return {.body = kserve::ModelMetadataJson(model->info, context_.models->List(route.model))};
    case Endpoint::kModelConfig:
      return {.body = kserve::ModelConfigJson(model->info)};
    case Endpoint::kModelStats:
      return {.body = kserve::ModelStatsJson(all ? context_.models->List(route.model) : std::vector{model})};
    default:
      return ErrorResponse(500, "an endpoint without an answer; please report this bug");
  }
}

void Service::Infer(Request request, const Route& route, Done done) {
  const Clock::time_point started = request.head.arrived;
  const auto found = context_.models->Find(route.model, route.version);
  if (!found.ok()) return done([status = found.status()] { return Failure(status); });
  const auto pending = std::make_shared<Pending>(Pending{.model = found.value(),
                                                         .started = started,
                                                         .traceparent = request.head.traceparent,
                                                         .done = std::move(done),
                                                         .held = std::move(request.held)});
  if (Status room = serving::CheckRoom(pending->model, started); !room.ok()) {
    return pending->done([this, pending, room = std::move(room)] { return Finished(*pending, room); });
  }
  Result<kserve::DecodedRequest> decoded = Decode(request, pending->model->info, context_.memory);
  if (!decoded.ok()) {
    pending->model->meter->Answered(decoded.status().code(), Clock::now() - started);
    return pending->done([this, pending, status = decoded.status()] { return Finished(*pending, status); });
  }
  pending->id = std::move(decoded.value().id);
  pending->outputs = std::move(decoded.value().outputs);
  decoded.value().request.arrived = started;
  decoded.value().request.canceled = request.gone;
  if (context_.trace) pending->trace = decoded.value().request.trace = std::make_shared<RequestTrace>();
  serving::Submit(pending->model, std::move(decoded.value().request), started, [this, pending](InferResult result) {
    try {
      pending->done([this, pending, result = std::move(result)] { return Finished(*pending, result); });
    } catch (const std::bad_alloc&) {
      // Must not reach the engine's thread. The connection is cut off when `pending` goes.
    }
  });
}

Response Service::Finished(const Pending& pending, const InferResult& result) const {
  const ModelInfo& info = pending.model->info;
  if (context_.log) {
    context_.log({.protocol = "http",
                  .model = info.name,
                  .version = info.version,
                  .id = pending.id,
                  .traceparent = serving::ValidTraceparent(pending.traceparent),
                  .status = result.status(),
                  .started = pending.started,
                  .elapsed = Clock::now() - pending.started,
                  .trace = pending.trace,
                  .stages = info.stages});
  }
  return Encode(info, pending.id, pending.outputs, result, context_.memory);
}

}  // namespace recpile::http
