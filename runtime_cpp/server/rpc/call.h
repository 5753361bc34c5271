// One unary call, from its arrival to the delivery of its answer.
#pragma once

#include <google/protobuf/arena.h>
#include <google/protobuf/message.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/async_stream.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <type_traits>

#include "rpc/dispatcher.h"
#include "rpc/event.h"
#include "rpc/method.h"
#include "rpc/owed.h"
#include "rpc/patience.h"

namespace recpile::rpc {

// Owns itself: it is deleted when all that is to come for it has come. Its message and the taking of its answer are
// waited for no longer than CallHost says.
template <class Request, class Response>
class Call final {
 public:
  using Stream = grpc::ServerAsyncReader<Response, Request>;
  // Has `arrived` handed back when the headers of a call have come. As HeadersFirst::Await.
  using Accept = std::function<void(grpc::ServerContext*, Stream*, grpc::ServerCompletionQueue*, Event* arrived)>;

  // Waits for a call of `method`, until the server shuts down. Throws std::bad_alloc, and then does not.
  static void Await(Method<Call>* method) {
    std::unique_ptr<Call> call(new Call(method));
    // Comes for calls that arrive, and for no others.
    call->context_.AsyncNotifyWhenDone(TagOf(&call->done_));
    method->accept(&call->context_, &call->stream_, method->host->dispatcher->queue(), &call->arrived_);
    (void)call.release();  // the queue has it
  }

  Request* request() { return request_; }
  Response* response() { return response_; }
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

  // Once, by whoever handles the call. Throws std::bad_alloc, and then has not.
  void Finish(const grpc::Status& status) {
    method_->host->sending->Begin(&sending_);
    if (status.ok()) {
      stream_.Finish(*response_, status, TagOf(&sent_));
    } else {
      stream_.FinishWithError(status, TagOf(&sent_));
    }
    finished_ = true;
  }

 private:
  friend class Owed<Call>;

  template <void (Call::*kThen)(bool)>
  struct Part final : Event {
    explicit Part(Call* call) : call(call) {}
    void Proceed(bool ok) override { (call->*kThen)(ok); }
    Call* const call;
  };

  template <void (Call::*kThen)(bool)>
  struct Limit final : Wait {
    explicit Limit(Call* call) : call(call) {}
    void GiveUp(bool closing) override { (call->*kThen)(closing); }
    Call* const call;
  };

  explicit Call(Method<Call>* method) : method_(method), stream_(&context_) {}

  void OnArrived(bool ok) {
    if (!ok) {
      delete this;
      return;
    }
    CallHost* const host = method_->host;
    ++host->in_flight;
    host->last_arrival = std::chrono::steady_clock::now().time_since_epoch().count();
    // Afterwards: the call that is there comes before those that may come.
    const typename Method<Call>::ListenAgain again(method_);
    host->reading->Begin(&reading_);
    stream_.Read(request_, TagOf(&read_));
  }

  void OnRead(bool ok) {
    if (!method_->host->reading->End(&reading_)) return Over();
    const Owed<Call> owed(this);
    if (ok) return method_->handle(owed);
    Finish({grpc::StatusCode::INTERNAL,
            "Unable to parse request: it is no such message, larger than 64 KiB, or there is no memory for it"});
  }

  void OnSlowRead(bool closing) {
    if (closing) return Refuse(grpc::StatusCode::UNAVAILABLE, "the server is shutting down; ask another");
    Refuse(grpc::StatusCode::DEADLINE_EXCEEDED, "the message took too long; see --request-timeout-seconds");
  }

  void OnSent(bool) {
    (void)method_->host->sending->End(&sending_);
    --method_->host->in_flight;
    Over();
  }

  // It will come to nothing, and that is "sent" too.
  void OnSlowSend(bool) { context_.TryCancel(); }

  void OnDone(bool) {
    if (context_.IsCancelled()) *gone_ = true;
    Over();
  }

  // On an arena, for protobuf loses what it is about to add to a message if memory runs out on the way.
  template <class T>
  static T* Made(google::protobuf::Arena* arena) {
    if constexpr (std::is_base_of_v<google::protobuf::Message, T>) {
      return google::protobuf::Arena::CreateMessage<T>(arena);
    } else {
      return google::protobuf::Arena::Create<T>(arena);
    }
  }

  void Refuse(grpc::StatusCode code, const char* message) {
    try {
      Finish({code, message});
    } catch (const std::bad_alloc&) {
      // Short enough to need no memory.
      Finish({grpc::StatusCode::UNAVAILABLE, "out of memory"});
    }
  }

  // For Owed.
  Dispatcher* dispatcher() const { return method_->host->dispatcher; }
  void Hold() { ++owed_; }
  void LetGo() {
    if (--owed_ > 0) return;
    if (!finished_) Refuse(grpc::StatusCode::UNAVAILABLE, "out of memory while handling the request; retry later");
    Over();
  }

  void Over() {
    if (--events_ == 0) delete this;
  }

  Method<Call>* const method_;
  grpc::ServerContext context_;
  google::protobuf::Arena arena_;
  Request* const request_ = Made<Request>(&arena_);
  Response* const response_ = Made<Response>(&arena_);
  Stream stream_;
  const std::shared_ptr<std::atomic<bool>> gone_ = std::make_shared<std::atomic<bool>>(false);
  Part<&Call::OnArrived> arrived_{this};
  Part<&Call::OnRead> read_{this};
  Part<&Call::OnSent> sent_{this};
  Part<&Call::OnDone> done_{this};
  Limit<&Call::OnSlowRead> reading_{this};
  Limit<&Call::OnSlowSend> sending_{this};
  // That are to come before this is over: the message has been read, and whoever handles it is done; the answer is
  // sent, or cannot be; the call is over for the client. In any order, and at once on several threads.
  std::atomic<int> events_ = 3;
  std::atomic<int> owed_ = 0;
  bool finished_ = false;  // written by who holds an Owed, or by nobody else
};

}  // namespace recpile::rpc
