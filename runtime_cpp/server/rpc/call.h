// One unary call, from its arrival to the delivery of its answer.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/async_unary_call.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "rpc/dispatcher.h"
#include "rpc/guarded_parse.h"
#include "rpc/health.grpc.pb.h"
#include "rpc/inference.grpc.pb.h"
#include "rpc/method.h"
#include "rpc/status.h"

namespace recpile::rpc {

// Infer requests come as bytes: some are refused before they are parsed.
using AsyncService =
    inference::GRPCInferenceService::WithRawMethod_ModelInfer<inference::GRPCInferenceService::AsyncService>;

using HealthService = grpc::health::v1::Health::AsyncService;

// Owns itself: it is deleted when its last event has been handled. It has two: the answer is delivered, or cannot be;
// and the call is over for the client too, which may come first.
template <class Request, class Response>
class Call final : public Event {
 public:
  // As the Request... methods of a generated AsyncService.
  using Accept = std::function<void(grpc::ServerContext*, Request*, grpc::ServerAsyncResponseWriter<Response>*,
                                    grpc::CompletionQueue*, grpc::ServerCompletionQueue*, void*)>;

  // Waits for a call of `method`, until the server shuts down. Throws std::bad_alloc, and then does not.
  static void Await(Method<Call>* method) {
    std::unique_ptr<Call> call(new Call(method));
    // Comes for calls that arrive, and for no others.
    call->context_.AsyncNotifyWhenDone(&call->done_);
    grpc::ServerCompletionQueue* const queue = method->host->dispatcher->queue();
    method->accept(&call->context_, call->request_.get(), &call->writer_, queue, queue, call.get());
    (void)call.release();  // the queue has it
  }

  // Shared with those who still read it when the call is over: tensors are views of it.
  const std::shared_ptr<Request>& request() const { return request_; }
  Response* response() { return &response_; }
  // The first value of a header; empty: the client did not send it.
  std::string Header(const std::string& name) const {
    const auto found = context_.client_metadata().find(name);
    if (found == context_.client_metadata().end()) return {};
    return std::string(found->second.data(), found->second.size());
  }

  // When the client gives up.
  std::chrono::system_clock::time_point Deadline() const { return context_.deadline(); }

  // Becomes true when the client has cancelled the call, or has gone.
  const std::shared_ptr<std::atomic<bool>>& gone() const { return gone_; }

  // The call may be no more when it returns.
  void Finish(const grpc::Status& status) {
    if (status.ok()) {
      writer_.Finish(response_, status, this);
    } else {
      writer_.FinishWithError(status, this);
    }
  }

  // A later Finish, from another thread; `make_status` fills the response. If this is the only call at the server,
  // answering at once saves it a switch of threads; else that work is the dispatcher's, and the engine's threads go on.
  template <class MakeStatus>
  void FinishLater(MakeStatus make_status) {
    CallHost* const host = method_->host;
    if (host->in_flight == 1) return Finish(make_status());
    host->dispatcher->Post([this, make_status = std::move(make_status)] { Finish(make_status()); });
  }

  void Proceed(bool ok) override {
    if (arrived_) {
      --method_->host->in_flight;
      Over();
    } else if (!ok) {
      delete this;
    } else {
      arrived_ = true;
      CallHost* const host = method_->host;
      ++host->in_flight;
      host->last_arrival = std::chrono::steady_clock::now().time_since_epoch().count();
      // Afterwards: the call that is there comes before those that may come.
      const typename Method<Call>::ListenAgain again(method_);
      method_->handle(this);  // which may be the end of this
    }
  }

 private:
  struct Done final : Event {
    explicit Done(Call* of) : call(of) {}
    void Proceed(bool) override {
      if (call->context_.IsCancelled()) *call->gone_ = true;
      call->Over();
    }
    Call* const call;
  };

  void Over() {
    if (--events_ == 0) delete this;
  }

  explicit Call(Method<Call>* method) : method_(method), writer_(&context_) {}

  Method<Call>* const method_;
  grpc::ServerContext context_;
  const std::shared_ptr<Request> request_ = std::make_shared<Request>();
  Response response_;
  grpc::ServerAsyncResponseWriter<Response> writer_;
  const std::shared_ptr<std::atomic<bool>> gone_ = std::make_shared<std::atomic<bool>>(false);
  Done done_{this};
  std::atomic<int> events_ = 2;  // that are to come before this is over; both may come at once, on two threads
  bool arrived_ = false;
};

}  // namespace recpile::rpc
