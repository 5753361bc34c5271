// The calls of inference.GRPCInferenceService, and what answers each.
#pragma once

#include <atomic>

#include "rpc/call.h"
#include "serving/context.h"

namespace recpile::rpc {

// Must outlive its calls.
class Service {
 public:
  Service(serving::Context context, CallHost* host);

  // Begins to accept calls of every method.
  void Listen();

  // From now on the server reports that it is not ready.
  void StartDraining() { draining_ = true; }
  // And from now on infer calls are refused.
  void StartRefusing() { refusing_ = true; }

 private:
  using InferCall = Call<inference::ModelInferRequest, inference::ModelInferResponse>;
  struct Pending;

  // `answer(request, response)` gives a grpc::Status at once.
  template <class Request, class Response, class Answer>
  void Simple(typename Call<Request, Response>::Accept accept, Answer answer);
  // `run(call)` finishes the call later.
  template <class Request, class Response, class Run>
  void Deferred(typename Call<Request, Response>::Accept accept, Run run);

  void ListenToHealth();
  void ListenToMetadata();
  void ListenToRepository();
  void ListenToMemory();
  void Infer(InferCall* call);
  grpc::Status Finished(const Pending& pending, const InferResult& result) const;

  const serving::Context context_;
  CallHost* const host_;
  std::atomic<bool> draining_ = false;
  std::atomic<bool> refusing_ = false;
};

}  // namespace recpile::rpc
