#include "rpc/service.h"

#include <new>
#include <utility>

#include "kserve/control_json.h"
#include "kserve/shared_tensor.h"
#include "rpc/describe.h"
#include "rpc/infer_codec.h"
#include "rpc/parameters.h"
#include "serving/traceparent.h"

namespace recpile::rpc {

using serving::Clock;

// A request that is at the engine.
struct Service::Pending {
  InferCall* call;  // alive until it is finished
  serving::ModelPtr model;
  Clock::time_point started;
  std::vector<kserve::OutputChoice> outputs;
  std::shared_ptr<RequestTrace> trace;  // null: nobody asks
};

Service::Service(serving::Context context, CallHost* host) : context_(std::move(context)), host_(host) {}

template <class Request, class Response, class Answer>
void Service::Simple(typename Call<Request, Response>::Accept accept, Answer answer) {
  Deferred<Request, Response>(accept, [answer = std::move(answer)](Call<Request, Response>* call) {
    call->Finish(answer(*call->request(), call->response()));
  });
}

template <class Request, class Response, class Run>
void Service::Deferred(typename Call<Request, Response>::Accept accept, Run run) {
  using Handler = typename Call<Request, Response>::Handler;
  Call<Request, Response>::Listen(host_, accept, std::make_shared<const Handler>(std::move(run)));
}

void Service::Listen() {
  ListenToHealth();
  ListenToMetadata();
  ListenToRepository();
  ListenToMemory();
  Deferred<inference::ModelInferRequest, inference::ModelInferResponse>(&AsyncService::RequestModelInfer,
                                                                        [this](InferCall* call) { Infer(call); });
}

void Service::ListenToHealth() {
  using namespace inference;  // NOLINT: the messages' names say enough
  Simple<ServerLiveRequest, ServerLiveResponse>(&AsyncService::RequestServerLive, [](const auto&, auto* out) {
    out->set_live(true);
    return grpc::Status::OK;
  });
  Simple<ServerReadyRequest, ServerReadyResponse>(&AsyncService::RequestServerReady, [this](const auto&, auto* out) {
    out->set_ready(!draining_);
    return grpc::Status::OK;
  });
  Simple<ModelReadyRequest, ModelReadyResponse>(&AsyncService::RequestModelReady, [this](const auto& in, auto* out) {
    out->set_ready(!draining_ && context_.models->Find(in.name(), in.version()).ok());
    return grpc::Status::OK;
  });
}

void Service::ListenToMetadata() {
  using namespace inference;  // NOLINT
  Simple<ServerMetadataRequest, ServerMetadataResponse>(&AsyncService::RequestServerMetadata,
                                                        [this](const auto&, auto* out) {
                                                          DescribeServer(context_, out);
                                                          return grpc::Status::OK;
                                                        });
  Simple<ModelMetadataRequest, ModelMetadataResponse>(
      &AsyncService::RequestModelMetadata, [this](const auto& in, auto* out) {
        const auto model = context_.models->Find(in.name(), in.version());
        if (model.ok()) DescribeModel(model.value()->info, context_.models->List(in.name()), out);
        return ToGrpc(model.status());
      });
  Simple<ModelConfigRequest, ModelConfigResponse>(&AsyncService::RequestModelConfig, [this](const auto& in, auto* out) {
    const auto model = context_.models->Find(in.name(), in.version());
    if (model.ok()) DescribeConfig(model.value()->info, out->mutable_config());
    return ToGrpc(model.status());
  });
  Simple<ModelStatisticsRequest, ModelStatisticsResponse>(
      &AsyncService::RequestModelStatistics, [this](const auto& in, auto* out) {
        if (in.version().empty()) {
          if (!in.name().empty()) {
            if (const Status known = context_.models->Find(in.name(), "").status(); !known.ok()) return ToGrpc(known);
          }
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
  Simple<RepositoryIndexRequest, RepositoryIndexResponse>(
      &AsyncService::RequestRepositoryIndex, [this](const auto& in, auto* out) {
        DescribeRepository(serving::Index(context_), in.ready(), out);
        return grpc::Status::OK;
      });
  // What load and unload have in common.
  const auto control = [this](auto* call,
                              void (serving::Repository::*operation)(std::string, serving::Repository::Done)) {
    Status refused = context_.repository == nullptr ? serving::NoRepository() : Status();
    for (const auto& [key, value] : call->request()->parameters()) {
      if (refused.ok()) refused = kserve::CheckControlParameter(key);
    }
    if (!refused.ok()) return call->Finish(ToGrpc(refused));
    (context_.repository->*operation)(call->request()->model_name(), [call](Status status) {
      call->FinishLater([status = std::move(status)] { return ToGrpc(status); });
    });
  };
  Deferred<RepositoryModelLoadRequest, RepositoryModelLoadResponse>(
      &AsyncService::RequestRepositoryModelLoad,
      [control](auto* call) { control(call, &serving::Repository::LoadForClient); });
  Deferred<RepositoryModelUnloadRequest, RepositoryModelUnloadResponse>(
      &AsyncService::RequestRepositoryModelUnload,
      [control](auto* call) { control(call, &serving::Repository::UnloadForClient); });
}

void Service::ListenToMemory() {
  using namespace inference;  // NOLINT
  Simple<SystemSharedMemoryStatusRequest, SystemSharedMemoryStatusResponse>(
      &AsyncService::RequestSystemSharedMemoryStatus, [this](const auto& in, auto* out) {
        if (context_.memory == nullptr) return ToGrpc(kserve::SharedMemoryIsOff());
        const auto regions = context_.memory->List(in.name());
        if (regions.ok()) DescribeMemory(regions.value(), out);
        return ToGrpc(regions.status());
      });
  Simple<SystemSharedMemoryRegisterRequest, SystemSharedMemoryRegisterResponse>(
      &AsyncService::RequestSystemSharedMemoryRegister, [this](const auto& in, auto*) {
        if (context_.memory == nullptr) return ToGrpc(kserve::SharedMemoryIsOff());
        return ToGrpc(context_.memory->Register(
            {.name = in.name(), .key = in.key(), .offset = in.offset(), .byte_size = in.byte_size()}));
      });
  Simple<SystemSharedMemoryUnregisterRequest, SystemSharedMemoryUnregisterResponse>(
      &AsyncService::RequestSystemSharedMemoryUnregister, [this](const auto& in, auto*) {
        if (context_.memory == nullptr) return ToGrpc(kserve::SharedMemoryIsOff());
        context_.memory->Unregister(in.name());
        return grpc::Status::OK;
      });
}

void Service::Infer(InferCall* call) {
  const Clock::time_point started = Clock::now();
  if (refusing_) return call->Finish(ToGrpc(Status::Unavailable("the server is shutting down; ask another")));
  const auto& request = call->request();
  const auto found = context_.models->Find(request->model_name(), request->model_version());
  if (!found.ok()) return call->Finish(ToGrpc(found.status()));
  const auto pending = std::make_shared<Pending>(Pending{call, found.value(), started, {}, {}});
  if (const Status room = serving::CheckRoom(pending->model, started); !room.ok()) {
    return call->Finish(Finished(*pending, room));
  }
  Result<DecodedCall> decoded = DecodeCall(request, pending->model->info, context_.memory);
  if (!decoded.ok()) {
    pending->model->meter->Answered(decoded.status().code(), Clock::now() - started);
    return call->Finish(Finished(*pending, decoded.status()));
  }
  LimitTimeout(call->Deadline(), &decoded.value().request);
  decoded.value().request.canceled = call->gone();
  pending->outputs = std::move(decoded.value().outputs);
  if (context_.trace) pending->trace = decoded.value().request.trace = std::make_shared<RequestTrace>();
  serving::Submit(pending->model, std::move(decoded.value().request), started, [this, pending](InferResult result) {
    pending->call->FinishLater([this, pending, result = std::move(result)] { return Finished(*pending, result); });
  });
}

grpc::Status Service::Finished(const Pending& pending, const InferResult& result) const {
  const ModelInfo& info = pending.model->info;
  const auto& request = *pending.call->request();
  if (context_.log) {
    const std::string traceparent = pending.call->Header("traceparent");
    context_.log({.protocol = "grpc",
                  .model = info.name,
                  .version = info.version,
                  .id = request.id(),
                  .traceparent = serving::ValidTraceparent(traceparent),
                  .status = result.status(),
                  .started = pending.started,
                  .elapsed = Clock::now() - pending.started,
                  .trace = pending.trace,
                  .stages = info.stages});
  }
  if (!result.ok()) return ToGrpc(result.status());
  try {
    return ToGrpc(EncodeAnswer(info, request.id(), pending.outputs, result.value(), context_.memory, result.left_out,
                               pending.call->response()));
  } catch (const std::bad_alloc&) {
    return ToGrpc(Status::Unavailable("out of memory while encoding the answer; retry later"));
  }
}

}  // namespace recpile::rpc
