// A generated service whose calls are handed over when their headers have come. gRPC would first wait for the message
// of a unary call, however long that takes; here the server reads it, and can set a time. On the wire it is the same.
#pragma once

#include <google/protobuf/descriptor.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/impl/service_type.h>
#include <grpcpp/server_context.h>

#include "rpc/event.h"

namespace recpile::rpc {

// `Generated` is what protoc makes of a service, as inference::GRPCInferenceService. All its methods are unary, and
// each takes a message of its own.
template <class Generated>
class HeadersFirst final : public Generated::Service {
 public:
  HeadersFirst() {
    for (int i = 0; i < Described()->method_count(); ++i) {
      this->MarkMethodStreamed(i, nullptr);
      this->MarkMethodAsync(i);
    }
  }

  // Which method takes `Request`.
  template <class Request>
  static int MethodOf() {
    int i = 0;
    while (Described()->method(i)->input_type() != Request::descriptor()) ++i;
    return i;
  }

  // Hands back `arrived` when the next call's headers have come. Throws std::bad_alloc, and then does not.
  void Await(int method, grpc::ServerContext* context, grpc::internal::ServerAsyncStreamingInterface* stream,
             grpc::ServerCompletionQueue* queue, Event* arrived) {
    this->RequestAsyncClientStreaming(method, context, stream, queue, queue, TagOf(arrived));
  }

 private:
  static const google::protobuf::ServiceDescriptor* Described() {
    return google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(Generated::service_full_name());
  }
};

}  // namespace recpile::rpc
