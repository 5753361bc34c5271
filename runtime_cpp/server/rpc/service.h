// The calls of inference.GRPCInferenceService, and what answers each.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "rpc/call.h"
#include "rpc/guarded_parse.h"
#include "rpc/headers_first.h"
#include "rpc/health.grpc.pb.h"
#include "rpc/inference.grpc.pb.h"
#include "serving/context.h"

namespace recpile::rpc {

using Inference = HeadersFirst<inference::GRPCInferenceService>;
using Health = HeadersFirst<grpc::health::v1::Health>;

// Must outlive its calls.
class Service {
 public:
  Service(serving::Context context, CallHost* host, Inference* inference, Health* health);

  // Begins to accept calls of every method, so many at once.
  void Listen(int acceptors);
  // Once the server has been shut down, and before its completion queue is.
  void Close();

  // From now on the server reports that it is not ready.
  void StartDraining() { draining_ = true; }
  // And from now on infer calls are refused.
  void StartRefusing() { refusing_ = true; }

 private:
  // Bytes: some requests are refused before they are parsed.
  using InferCall = Call<grpc::ByteBuffer, grpc::ByteBuffer>;
  struct Pending;

  // `answer(request, response)` gives a grpc::Status at once.
  template <class Request, class Response, class Of, class Answer>
  void Simple(Of* service, Answer answer);
  // `run(owed call)` finishes the call later.
  template <class Request, class Response, class Of, class Run>
  void Deferred(Of* service, Run run);
  template <class Call, class Of>
  void Add(Of* service, int method, typename Method<Call>::Handle handle);

  void ListenToHealth();
  // The same in gRPC's own protocol. Its library has a ready service for that, with threads of its own, which then poll
  // all connections and hand what they read to the dispatcher's: that costs every call a switch of threads, or two.
  void ListenToProbes();
  void ListenToMetadata();
  void ListenToRepository();
  void ListenToMemory();

  // In service_infer.cc.
  void Infer(const Owed<InferCall>& call);
  // The answer to a request for which there is no room or, as far as all but its tensors tells, no time.
  std::optional<grpc::Status> RefuseEarly(const Owed<InferCall>& call, grpc::ByteBuffer* message,
                                          serving::Clock::time_point started) const;
  // The answer to a request whose bytes find no room.
  grpc::Status RefuseForRoom(const Owed<InferCall>& call, grpc::ByteBuffer* message,
                             serving::Clock::time_point started) const;
  grpc::Status Finished(const Pending& pending, const InferResult& result) const;

  const serving::Context context_;
  CallHost* const host_;
  Inference* const inference_;
  Health* const health_;
  std::vector<std::unique_ptr<AnyMethod>> all_;
  std::atomic<bool> draining_ = false;
  std::atomic<bool> refusing_ = false;
};

}  // namespace recpile::rpc
