#include "http/service.h"

#include <charconv>
#include <chrono>
#include <memory>
#include <new>
#include <utility>

#include "kserve/infer_codec.h"
#include "kserve/metadata.h"
#include "kserve/request_json.h"

namespace recpile::http {
namespace {

using Clock = std::chrono::steady_clock;
using kserve::Excerpt;

int HttpStatus(StatusCode code) {
  switch (code) {
    case StatusCode::kOk:
      return 200;
    case StatusCode::kInvalidArgument:
      return 400;
    case StatusCode::kNotFound:
      return 404;
    case StatusCode::kUnavailable:
      return 503;
    case StatusCode::kUnsupported:
      return 501;
    case StatusCode::kInternal:
      return 500;
  }
  return 500;
}

Response Failure(const Status& status) { return ErrorResponse(HttpStatus(status.code()), status.message()); }

Result<std::optional<size_t>> ParseJsonLength(const std::string& text) {
  if (text.empty()) return std::optional<size_t>();
  size_t length = 0;
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, length);
  if (parsed.ec == std::errc() && parsed.ptr == end) return std::optional<size_t>(length);
  return Status::InvalidArgument("Inference-Header-Content-Length is \"" + Excerpt(text) +
                                 "\"; it must be the length of the JSON part in bytes");
}

Result<kserve::DecodedRequest> Decode(const Request& request, const ModelInfo& model) {
  kserve::RequestBody body{.bytes = request.body, .owner = request.body_owner};
  RECPILE_ASSIGN_OR_RETURN(body.json_length, ParseJsonLength(request.head.json_length));
  return kserve::DecodeInferRequest(body, model);
}

Response Encode(const ModelInfo& model, const std::string& id, const std::vector<kserve::OutputChoice>& choices,
                const InferResult& result) {
  if (!result.ok()) return Failure(result.status());
  Result<kserve::EncodedResponse> encoded = kserve::EncodeInferResponse(model, id, choices, result.value());
  if (!encoded.ok()) return Failure(encoded.status());
  Response response{.body = std::move(encoded.value().body), .json_length = encoded.value().json_length};
  if (response.json_length) response.content_type = "application/octet-stream";
  return response;
}

}  // namespace

Response ErrorResponse(int status, std::string_view message) {
  return {.status = status, .body = kserve::ErrorJson(message), .retry_after = status == 503};
}

Service::Service(Backend backend, std::string server_version)
    : backend_(std::move(backend)), server_version_(std::move(server_version)) {}

std::optional<Response> Service::Refuse(const RequestHead& head) const {
  return Refuse(head, ParseTarget(head.target));
}

std::optional<Response> Service::Refuse(const RequestHead& head, const Route& route) const {
  if (route.endpoint == Endpoint::kUnknown) {
    return ErrorResponse(404, "there is nothing at '" + Excerpt(head.target) +
                                  "'; see /v2, /v2/health/ready and /v2/models/" + backend_.model.name);
  }
  if (!MethodAllowed(route.endpoint, head.method)) {
    const std::string allow(AllowedMethods(route.endpoint));
    Response response =
        ErrorResponse(405, "'" + Excerpt(head.target) + "' takes " + allow + ", not " + Excerpt(head.method));
    response.allow = allow;
    return response;
  }
  if (!route.model.empty() && route.model != backend_.model.name) {
    return ErrorResponse(
        404, "model '" + Excerpt(route.model) + "' is not served here; this server has '" + backend_.model.name + "'");
  }
  if (!route.version.empty() && route.version != backend_.model.version) {
    return ErrorResponse(404, "model '" + backend_.model.name + "' has no version '" + Excerpt(route.version) +
                                  "'; this server has version '" + backend_.model.version + "'");
  }
  if (route.endpoint == Endpoint::kModelInfer && !head.content_encoding.empty() &&
      head.content_encoding != "identity") {
    return ErrorResponse(
        415, "Content-Encoding '" + Excerpt(head.content_encoding) + "' is not supported; send the body uncompressed");
  }
  return std::nullopt;
}

void Service::Handle(Request request, Done done) {
  const Route route = ParseTarget(request.head.target);
  if (std::optional<Response> refusal = Refuse(request.head, route)) {
    done([refusal = std::move(*refusal)] { return refusal; });
  } else if (route.endpoint == Endpoint::kModelInfer) {
    Infer(std::move(request), std::move(done));
  } else {
    done([this, endpoint = route.endpoint] { return Get(endpoint); });
  }
}

Response Service::Get(Endpoint endpoint) const {
  switch (endpoint) {
    case Endpoint::kServerMetadata:
      return {.body = kserve::ServerMetadataJson(server_version_)};
    case Endpoint::kServerLive:
      return {};
    case Endpoint::kServerReady:
    case Endpoint::kModelReady:
      return draining_ ? ErrorResponse(503, "the server is shutting down") : Response{};
    case Endpoint::kModelMetadata:
      return {.body = kserve::ModelMetadataJson(backend_.model)};
    case Endpoint::kModelConfig:
      return {.body = kserve::ModelConfigJson(backend_.model)};
    case Endpoint::kAllStats:
    case Endpoint::kModelStats:
      return {.body = kserve::ModelStatsJson(backend_.model, backend_.stats(), success_ns_)};
    case Endpoint::kModelInfer:
    case Endpoint::kUnknown:
      break;
  }
  return ErrorResponse(500, "an endpoint without an answer; please report this bug");
}

void Service::Infer(Request request, Done done) {
  const Clock::time_point started = Clock::now();
  Result<kserve::DecodedRequest> decoded = Decode(request, backend_.model);
  if (!decoded.ok()) return done([status = decoded.status()] { return Failure(status); });

  struct Pending {
    std::string id;
    std::vector<kserve::OutputChoice> outputs;
    Done done;
  };
  const auto pending = std::make_shared<Pending>(
      Pending{std::move(decoded.value().id), std::move(decoded.value().outputs), std::move(done)});
  const Status submitted =
      backend_.submit(std::move(decoded.value().request), [this, started, pending](InferResult result) {
        if (result.ok()) {
          const auto elapsed = std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - started);
          success_ns_ += static_cast<uint64_t>(elapsed.count());
        }
        try {
          pending->done([this, pending, result = std::move(result)] {
            return Encode(backend_.model, pending->id, pending->outputs, result);
          });
        } catch (const std::bad_alloc&) {
          // Must not reach the engine's thread. The connection closes unanswered when `pending` goes.
        }
      });
  if (!submitted.ok()) pending->done([submitted] { return Failure(submitted); });
}

}  // namespace recpile::http
