#include "rpc/service.h"

#include <utility>

#include "kserve/control_json.h"
#include "kserve/request_json.h"
#include "kserve/shared_tensor.h"
#include "rpc/describe.h"
#include "rpc/status.h"

namespace recpile::rpc {

Service::Service(serving::Context context, CallHost* host, Inference* inference, Health* health)
    : context_(std::move(context)), host_(host), inference_(inference), health_(health) {}

template <class Request, class Response, class Of, class Answer>
void Service::Simple(Of* service, Answer answer) {
  Deferred<Request, Response>(service, [answer = std::move(answer)](const auto& call) {
    call->Finish(answer(*call->request(), call->response()));
  });
}

template <class Request, class Response, class Of, class Run>
void Service::Deferred(Of* service, Run run) {
  Add<Call<Request, Response>>(service, Of::template MethodOf<Request>(), std::move(run));
}

template <class Call, class Of>
void Service::Add(Of* service, int method, typename Method<Call>::Handle handle) {
  const auto accept = [service, method](auto... arguments) { service->Await(method, arguments...); };
  all_.push_back(std::make_unique<Method<Call>>(host_, accept, std::move(handle)));
}

void Service::Listen(int acceptors) {
  ListenToHealth();
  ListenToProbes();
  ListenToMetadata();
  ListenToRepository();
  ListenToMemory();
  Add<InferCall>(inference_, Inference::MethodOf<inference::ModelInferRequest>(),
                 [this](const auto& call) { Infer(call); });
  for (const auto& method : all_) {
    for (int i = 0; i < acceptors; ++i) method->Listen();
  }
}

void Service::Close() {
  for (const auto& method : all_) method->Close();
}

void Service::ListenToHealth() {
  using namespace inference;  // NOLINT: the messages' names say enough
  Simple<ServerLiveRequest, ServerLiveResponse>(inference_, [](const auto&, auto* out) {
    out->set_live(true);
    return grpc::Status::OK;
  });
  Simple<ServerReadyRequest, ServerReadyResponse>(inference_, [this](const auto&, auto* out) {
    out->set_ready(!draining_);
    return grpc::Status::OK;
  });
  Simple<ModelReadyRequest, ModelReadyResponse>(inference_, [this](const auto& in, auto* out) {
    out->set_ready(!draining_ && context_.models->Find(in.name(), in.version()).ok());
    return grpc::Status::OK;
  });
}

void Service::ListenToProbes() {
  using namespace grpc::health::v1;  // NOLINT
  Simple<HealthCheckRequest, HealthCheckResponse>(health_, [this](const auto& in, auto* out) {
    if (!in.service().empty() && in.service() != inference::GRPCInferenceService::service_full_name()) {
      return grpc::Status(grpc::StatusCode::NOT_FOUND, "no such service: '" + kserve::Excerpt(in.service()) + "'");
    }
    out->set_status(draining_ ? HealthCheckResponse::NOT_SERVING : HealthCheckResponse::SERVING);
    return grpc::Status::OK;
  });
}

void Service::ListenToMetadata() {
  using namespace inference;  // NOLINT
  Simple<ServerMetadataRequest, ServerMetadataResponse>(inference_, [this](const auto&, auto* out) {
    DescribeServer(context_, out);
    return grpc::Status::OK;
  });
  Simple<ModelMetadataRequest, ModelMetadataResponse>(inference_, [this](const auto& in, auto* out) {
    const auto model = context_.models->Find(in.name(), in.version());
    if (model.ok()) DescribeModel(model.value()->info, context_.models->List(in.name()), out);
    return ToGrpc(model.status());
  });
  Simple<ModelConfigRequest, ModelConfigResponse>(inference_, [this](const auto& in, auto* out) {
    const auto model = context_.models->Find(in.name(), in.version());
    if (model.ok()) DescribeConfig(model.value()->info, out->mutable_config());
    return ToGrpc(model.status());
  });
  Simple<ModelStatisticsRequest, ModelStatisticsResponse>(inference_, [this](const auto& in, auto* out) {
    if (in.version().empty()) {
      const Status known = in.name().empty() ? Status() : context_.models->Find(in.name(), "").status();
      if (!known.ok()) return ToGrpc(known);
      for (const auto& model : context_.models->List(in.name())) DescribeStatistics(*model, out->add_model_stats());
      return grpc::Status::OK;
    }
    const auto model = context_.models->Find(in.name(), in.version());
    if (model.ok()) DescribeStatistics(*model.value(), out->add_model_stats());
    return ToGrpc(model.status());
  });
}

void Service::ListenToRepository() {
  using namespace inference;  // NOLINT
  Simple<RepositoryIndexRequest, RepositoryIndexResponse>(inference_, [this](const auto& in, auto* out) {
    DescribeRepository(serving::Index(context_), in.ready(), out);
    return grpc::Status::OK;
  });
  // What load and unload have in common.
  const auto control = [this](const auto& call,
                              void (serving::Repository::*operation)(std::string, serving::Repository::Done)) {
    Status refused = context_.repository == nullptr ? serving::NoRepository() : Status();
    for (const auto& [key, value] : call->request()->parameters()) {
      if (refused.ok()) refused = kserve::CheckControlParameter(key);
    }
    if (!refused.ok()) return call->Finish(ToGrpc(refused));
    (context_.repository->*operation)(call->request()->model_name(), [call](Status status) {
      call.FinishLater([status = std::move(status)] { return ToGrpc(status); });
    });
  };
  Deferred<RepositoryModelLoadRequest, RepositoryModelLoadResponse>(
      inference_, [control](const auto& call) { control(call, &serving::Repository::LoadForClient); });
  Deferred<RepositoryModelUnloadRequest, RepositoryModelUnloadResponse>(
      inference_, [control](const auto& call) { control(call, &serving::Repository::UnloadForClient); });
}

void Service::ListenToMemory() {
  using namespace inference;  // NOLINT
  Simple<SystemSharedMemoryStatusRequest, SystemSharedMemoryStatusResponse>(
      inference_, [this](const auto& in, auto* out) {
        if (context_.memory == nullptr) return ToGrpc(kserve::SharedMemoryIsOff());
        const auto regions = context_.memory->List(in.name());
        if (regions.ok()) DescribeMemory(regions.value(), out);
        return ToGrpc(regions.status());
      });
  Simple<SystemSharedMemoryRegisterRequest, SystemSharedMemoryRegisterResponse>(
      inference_, [this](const auto& in, auto*) {
        if (context_.memory == nullptr) return ToGrpc(kserve::SharedMemoryIsOff());
        return ToGrpc(context_.memory->Register(
            {.name = in.name(), .key = in.key(), .offset = in.offset(), .byte_size = in.byte_size()}));
      });
  Simple<SystemSharedMemoryUnregisterRequest, SystemSharedMemoryUnregisterResponse>(
      inference_, [this](const auto& in, auto*) {
        if (context_.memory == nullptr) return ToGrpc(kserve::SharedMemoryIsOff());
        context_.memory->Unregister(in.name());
        return grpc::Status::OK;
      });
}

}  // namespace recpile::rpc
