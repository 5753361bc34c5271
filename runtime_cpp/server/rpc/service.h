// The calls of inference.GRPCInferenceService, and what answers each.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "rpc/call.h"
#include "serving/context.h"

namespace recpile::rpc {

// Must outlive its calls.
class Service {
 public:
  Service(serving::Context context, CallHost* host, AsyncService* methods, HealthService* health);

  // Begins to accept calls of every method, so many at once.
  void Listen(int acceptors);
  // Once the server has been shut down, and before its completion queue is.
  void Close();

  // From now on the server reports that it is not ready.
  void StartDraining() { draining_ = true; }
  // And from now on infer calls are refused.
  void StartRefusing() { refusing_ = true; }

 private:
  using InferCall = Call<grpc::ByteBuffer, grpc::ByteBuffer>;
  struct Pending;

  // One of a generated service's Request... methods.
  template <class Of, class Request, class Response>
  using Accept = void (Of::*)(grpc::ServerContext*, Request*, grpc::ServerAsyncResponseWriter<Response>*,
                              grpc::CompletionQueue*, grpc::ServerCompletionQueue*, void*);

  // `answer(request, response)` gives a grpc::Status at once.
  template <class Methods, class Of, class Request, class Response, class Answer>
  void Simple(Methods* service, Accept<Of, Request, Response> accept, Answer answer);
  // `run(call)` finishes the call later.
  template <class Methods, class Of, class Request, class Response, class Run>
  void Deferred(Methods* service, Accept<Of, Request, Response> accept, Run run);

  void ListenToHealth();
  // The same in gRPC's own protocol. Its library has a ready service for that, with threads of its own, which then poll
  // all connections and hand what they read to the dispatcher's: that costs every call a switch of threads, or two.
  void ListenToProbes();
  void ListenToMetadata();
  void ListenToRepository();
  void ListenToMemory();
  void Infer(InferCall* call);
  // The answer to a request for which there is no room or, as far as all but its tensors tells, no time.
  std::optional<grpc::Status> RefuseEarly(InferCall* call, serving::Clock::time_point started) const;
  grpc::Status Finished(const Pending& pending, const InferResult& result) const;

  const serving::Context context_;
  CallHost* const host_;
  AsyncService* const methods_;
  HealthService* const health_;
  std::vector<std::unique_ptr<AnyMethod>> all_;
  std::atomic<bool> draining_ = false;
  std::atomic<bool> refusing_ = false;
};

}  // namespace recpile::rpc
