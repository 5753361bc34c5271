#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>

#include <utility>

#include "senders.h"

namespace recpile::benchmark {
namespace {

class GrpcSender final : public Sender {
 public:
  GrpcSender(const std::string& address, const std::string& request)
      : stub_(grpc::CreateChannel(address, grpc::InsecureChannelCredentials())) {
    const grpc::Slice slice(request);
    request_ = grpc::ByteBuffer(&slice, 1);
  }

  void Send(std::function<void(bool ok)> done) override {
    struct Call {
      grpc::ClientContext context;
      grpc::ByteBuffer response;
    };
    const auto call = std::make_shared<Call>();
    stub_.UnaryCall(&call->context, "/inference.GRPCInferenceService/ModelInfer", grpc::StubOptions(), &request_,
                    &call->response, [call, done = std::move(done)](const grpc::Status& status) { done(status.ok()); });
  }

 private:
  grpc::GenericStub stub_;
  grpc::ByteBuffer request_;
};

}  // namespace

std::unique_ptr<Sender> MakeGrpcSender(const std::string& address, const std::string& request) {
  return std::make_unique<GrpcSender>(address, request);
}

}  // namespace recpile::benchmark
