#include "rpc/method.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/support/channel_arguments.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <new>

#include "rpc/call.h"
#include "rpc/guarded_parse.h"
#include "rpc/headers_first.h"
#include "rpc/inference.grpc.pb.h"

namespace recpile::rpc {
namespace {

using inference::ServerLiveRequest;
using inference::ServerLiveResponse;
using Inference = HeadersFirst<inference::GRPCInferenceService>;
using LiveCall = Call<ServerLiveRequest, ServerLiveResponse>;

// A server of the one method ServerLive, whose waiting for calls fails for lack of memory as often as it is told.
class MethodTest : public ::testing::Test {
 protected:
  MethodTest() {
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&service_);
    auto queue = builder.AddCompletionQueue();
    server_ = builder.BuildAndStart();
    reading_ = std::make_unique<Patience>(queue.get(), std::chrono::seconds(10));
    sending_ = std::make_unique<Patience>(queue.get(), std::chrono::seconds(10));
    dispatcher_ = std::make_unique<Dispatcher>(std::move(queue));
    host_.dispatcher = dispatcher_.get();
    host_.reading = reading_.get();
    host_.sending = sending_.get();
    method_ = std::make_unique<Method<LiveCall>>(
        &host_,
        [this](auto... arguments) {
          if (failures_ > 0) {
            --failures_;
            throw std::bad_alloc();
          }
          service_.Await(Inference::MethodOf<ServerLiveRequest>(), arguments...);
        },
        [](const Owed<LiveCall>& call) {
          call->response()->set_live(true);
          call->Finish(grpc::Status::OK);
        });
    dispatcher_->Start(1);
    grpc::ChannelArguments direct;
    direct.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);  // whatever http_proxy says
    stub_ = inference::GRPCInferenceService::NewStub(
        grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(port), grpc::InsecureChannelCredentials(), direct));
  }

  ~MethodTest() override {
    server_->Shutdown();
    method_->Close();
    reading_->Close();
    sending_->Close();
    dispatcher_.reset();
  }

  bool Answers() {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    ServerLiveResponse response;
    return stub_->ServerLive(&context, {}, &response).ok() && response.live();
  }

  Inference service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<Patience> reading_, sending_;
  std::unique_ptr<Dispatcher> dispatcher_;
  CallHost host_{};
  std::atomic<int> failures_ = 0;
  std::unique_ptr<Method<LiveCall>> method_;
  std::unique_ptr<inference::GRPCInferenceService::Stub> stub_;
};

TEST_F(MethodTest, WaitsForTheNextCallAfterEachOne) {
  method_->Listen();
  EXPECT_TRUE(Answers());
  EXPECT_TRUE(Answers());
}

TEST_F(MethodTest, AMethodForWhichMemoryRanOutIsWaitedForLater) {
  method_->Listen();
  failures_ = 3;
  EXPECT_TRUE(Answers());
  EXPECT_TRUE(Answers());
  EXPECT_EQ(failures_, 0);
}

TEST_F(MethodTest, TheEndDoesNotWaitForMemory) {
  failures_ = 1'000'000'000;
  method_->Listen();
}

}  // namespace
}  // namespace recpile::rpc
