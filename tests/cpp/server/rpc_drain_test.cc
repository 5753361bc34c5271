// Shutting down gRPC: calls that the engine holds are waited for until the grace period is over, and no longer.
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>

#include "held_backend.h"
#include "rpc/inference.grpc.pb.h"
#include "rpc/server.h"

namespace recpile::rpc {
namespace {

using namespace std::chrono_literals;

class RpcDrain : public ::testing::Test {
 protected:
  void SetUp() override {
    auto bound = Server::Bind({.host = "127.0.0.1", .port = 0, .last_call = 1ms});
    ASSERT_TRUE(bound.ok()) << bound.status().message();
    server_ = std::move(bound).value();
    ASSERT_TRUE(server_->Serve(held_.Make()).ok());
  }

  // Until the engine answers it, or `context` cancels it.
  grpc::Status Infer(grpc::ClientContext* context) {
    inference::ModelInferRequest request;
    request.set_model_name("toy");
    auto* const dense = request.add_inputs();
    dense->set_name("dense");
    dense->set_datatype("FP32");
    dense->add_shape(1);
    dense->add_shape(4);
    for (const float value : {1.0F, 2.0F, 3.0F, 4.0F}) dense->mutable_contents()->add_fp32_contents(value);
    inference::ModelInferResponse response;
    const auto stub = inference::GRPCInferenceService::NewStub(
        grpc::CreateChannel("127.0.0.1:" + std::to_string(server_->port()), grpc::InsecureChannelCredentials()));
    return stub->ModelInfer(context, request, &response);
  }

  testing::HeldBackend held_;
  std::unique_ptr<Server> server_;
};

TEST_F(RpcDrain, WhatTheEngineHoldsForAClientThatHasGoneIsNotDrained) {
  grpc::ClientContext context;
  std::thread client([&] { Infer(&context); });
  held_.WaitFor(1);
  context.TryCancel();
  client.join();
  while (!held_.FirstIsCanceled()) std::this_thread::sleep_for(1ms);
  server_->BeginDrain(200ms);
  EXPECT_FALSE(server_->AwaitDrained());
  held_.AnswerAll();  // or the server's destructor would wait for it
}

TEST_F(RpcDrain, WhatTheEngineAnswersWithinTheGracePeriodIs) {
  grpc::ClientContext context;
  grpc::Status status;
  std::thread client([&] { status = Infer(&context); });
  held_.WaitFor(1);
  server_->BeginDrain(60s);
  held_.AnswerAll();
  EXPECT_TRUE(server_->AwaitDrained());
  client.join();
  EXPECT_TRUE(status.ok()) << status.error_message();
}

}  // namespace
}  // namespace recpile::rpc
