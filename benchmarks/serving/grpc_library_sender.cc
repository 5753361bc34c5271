#include <grpcpp/completion_queue.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>

#include <thread>
#include <utility>

#include "senders.h"

namespace recpile::benchmark {
namespace {

struct Call {
  grpc::ClientContext context;
  grpc::ByteBuffer response;
  grpc::Status status;
  std::unique_ptr<grpc::GenericClientAsyncResponseReader> reader;
  std::function<void(bool ok)> done;
};

// Sends on the caller's thread, and has one that reads: gRPC's callbacks would come by way of a third.
class GrpcLibrarySender final : public Sender {
 public:
  GrpcLibrarySender(const std::string& address, const std::string& request)
      : stub_(grpc::CreateChannel(address, grpc::InsecureChannelCredentials())) {
    const grpc::Slice slice(request);
    request_ = grpc::ByteBuffer(&slice, 1);
    thread_ = std::thread([this] { Read(); });
  }
  ~GrpcLibrarySender() override {
    queue_.Shutdown();
    thread_.join();
  }

  void Send(std::function<void(bool ok)> done) override {
    auto* const call = new Call;
    call->done = std::move(done);
    call->reader =
        stub_.PrepareUnaryCall(&call->context, "/inference.GRPCInferenceService/ModelInfer", request_, &queue_);
    call->reader->StartCall();
    call->reader->Finish(&call->response, &call->status, call);
  }

 private:
  void Read() {
    void* tag = nullptr;
    bool ok = false;
    while (queue_.Next(&tag, &ok)) {
      const std::unique_ptr<Call> call(static_cast<Call*>(tag));
      call->done(call->status.ok());
    }
  }

  grpc::GenericStub stub_;
  grpc::ByteBuffer request_;
  grpc::CompletionQueue queue_;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<Sender> MakeGrpcLibrarySender(const std::string& address, const std::string& request) {
  return std::make_unique<GrpcLibrarySender>(address, request);
}

}  // namespace recpile::benchmark
