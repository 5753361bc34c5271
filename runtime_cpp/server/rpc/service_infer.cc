// Infer calls; the others are in service.cc.
#include <chrono>
#include <new>
#include <utility>

#include "rpc/infer_codec.h"
#include "rpc/infer_message.h"
#include "rpc/parameters.h"
#include "rpc/service.h"
#include "rpc/status.h"
#include "serving/traceparent.h"

namespace recpile::rpc {

using serving::Clock;

// A request that is at the engine.
struct Service::Pending {
  Owed<InferCall> call;
  serving::ModelPtr model;
  Clock::time_point started;
  std::shared_ptr<const inference::ModelInferRequest> request;
  std::vector<kserve::OutputChoice> outputs;
  std::shared_ptr<RequestTrace> trace;  // null: nobody asks
  serving::ByteBudget::Share held;
};

void Service::Infer(const Owed<InferCall>& call) {
  const Clock::time_point started = Clock::now();
  // The call goes on until its client has taken the answer.
  grpc::ByteBuffer message;
  message.Swap(call->request());
  if (refusing_) return call->Finish(ToGrpc(Status::Unavailable("the server is shutting down; ask another")));
  if (const auto refusal = RefuseEarly(call, &message, started)) return call->Finish(*refusal);
  serving::ByteBudget::Share held(context_.budget);
  if (!held.GrowTo(message.Length())) return call->Finish(RefuseForRoom(call, &message, started));
  const Result<RequestPtr> request = Parse(message);
  if (!request.ok()) return call->Finish(ToGrpc(request.status()));
  message.Clear();
  const auto found = context_.models->Find(request.value()->model_name(), request.value()->model_version());
  if (!found.ok()) return call->Finish(ToGrpc(found.status()));
  const auto pending =
      std::make_shared<Pending>(Pending{call, found.value(), started, request.value(), {}, {}, std::move(held)});
  Result<DecodedCall> decoded = DecodeCall(pending->request, pending->model->info, context_.memory);
  if (!decoded.ok()) {
    pending->model->meter->Answered(decoded.status().code(), Clock::now() - started);
    return call->Finish(Finished(*pending, decoded.status()));
  }
  LimitTimeout(call->Deadline(), &decoded.value().request);
  decoded.value().request.canceled = call->gone();
  pending->outputs = std::move(decoded.value().outputs);
  if (context_.trace) pending->trace = decoded.value().request.trace = std::make_shared<RequestTrace>();
  serving::Submit(pending->model, std::move(decoded.value().request), started, [this, pending](InferResult result) {
    pending->call.FinishLater([this, pending, result = std::move(result)] { return Finished(*pending, result); });
  });
}

std::optional<grpc::Status> Service::RefuseEarly(const Owed<InferCall>& call, grpc::ByteBuffer* message,
                                                 Clock::time_point started) const {
  const MessageTarget target = TargetOf(*message);
  if (target.model.empty()) return std::nullopt;
  const auto found = context_.models->Find(target.model, target.version);
  if (!found.ok()) return std::nullopt;
  Pending pending{call, found.value(), started, nullptr, {}, {}, {}};
  Status status = serving::CheckRoom(pending.model, started);
  int64_t timeout = 0;
  // Where nothing waits, there is time.
  if (status.ok() && pending.model->queued() > 0) {
    pending.request = ParseWithoutTensors(*message);
    InferRequest scheduling;
    if (pending.request == nullptr || !ReadScheduling(pending.request->parameters(), &scheduling).ok()) {
      return std::nullopt;
    }
    LimitTimeout(call->Deadline(), &scheduling);
    timeout = scheduling.timeout_microseconds;
    status = serving::CheckTime(pending.model, scheduling, started);
  }
  if (status.ok()) return std::nullopt;
  host_->dispatcher->Rest(std::chrono::microseconds(timeout));
  return Finished(pending, status);
}

grpc::Status Service::RefuseForRoom(const Owed<InferCall>& call, grpc::ByteBuffer* message,
                                    Clock::time_point started) const {
  const Status refused = Status::Unavailable(context_.budget->Refusal());
  const MessageTarget target = TargetOf(*message);
  const auto found = context_.models->Find(target.model, target.version);
  if (!found.ok()) return ToGrpc(refused);
  found.value()->meter->Answered(refused.code(), Clock::now() - started);
  return Finished({call, found.value(), started, nullptr, {}, {}, {}}, refused);
}

grpc::Status Service::Finished(const Pending& pending, const InferResult& result) const {
  const ModelInfo& info = pending.model->info;
  const std::string id = pending.request == nullptr ? std::string() : pending.request->id();
  if (context_.log) {
    const std::string traceparent = pending.call->Header("traceparent");
    context_.log({.protocol = "grpc",
                  .model = info.name,
                  .version = info.version,
                  .id = id,
                  .traceparent = serving::ValidTraceparent(traceparent),
                  .status = result.status(),
                  .started = pending.started,
                  .elapsed = Clock::now() - pending.started,
                  .trace = pending.trace,
                  .stages = info.stages});
  }
  if (!result.ok()) return ToGrpc(result.status());
  try {
    google::protobuf::Arena arena;
    auto* response = google::protobuf::Arena::CreateMessage<inference::ModelInferResponse>(&arena);
    const Status encoded =
        EncodeAnswer(info, id, pending.outputs, result.value(), context_.memory, result.left_out, response);
    if (encoded.ok()) *pending.call->response() = Serialize(*response);
    return ToGrpc(encoded);
  } catch (const std::bad_alloc&) {
    return ToGrpc(Status::Unavailable("out of memory while encoding the answer; retry later"));
  }
}

}  // namespace recpile::rpc
