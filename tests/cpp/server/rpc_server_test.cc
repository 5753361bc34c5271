#include "rpc/server.h"

#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "answering_backend.h"
#include "rpc_client.h"

namespace recpile::rpc {
namespace {

using std::chrono::milliseconds;
using testing::AnsweringBackend;
using testing::HeldBackend;

float Ask(Stub& stub, std::initializer_list<float> row) {
  PatientContext context;
  inference::ModelInferResponse response;
  const grpc::Status status = stub.ModelInfer(&context, ScoreRequest(row), &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return ScoreOf(response);
}

TEST(RpcServer, ManyClientsAtOnceGetEachItsOwnAnswer) {
  AnsweringBackend backend;
  const auto server = StartServer(backend.Make(), {.threads = 2});
  std::vector<std::jthread> clients;
  for (int c = 0; c < 4; ++c) {
    clients.emplace_back([&, c] {
      const auto stub = Connect(*server);
      for (int i = 0; i < 25; ++i) EXPECT_EQ(Ask(*stub, {float(c), float(i), 0, 0}), float(c + i));
    });
  }
}

TEST(RpcServer, ModelsComeAndGoWhileOtherClientsAsk) {
  AnsweringBackend backend;
  const serving::Context context = backend.Make();
  const auto server = StartServer(context, {.threads = 2});
  const serving::ModelPtr toy = context.models->Find("toy", "").value();
  const std::jthread changing([&](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      backend.models()->Publish("other", {toy});
      backend.models()->Publish("other", {});
    }
  });
  const auto stub = Connect(*server);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(Ask(*stub, {1, 0, 0, 0}), 1);
}

TEST(RpcServer, ACancelledCallsRequestIsMarked) {
  HeldBackend backend;
  const auto server = StartServer(backend.Make());
  const auto stub = Connect(*server);
  PatientContext context;
  std::jthread client([&] {
    inference::ModelInferResponse response;
    EXPECT_EQ(stub->ModelInfer(&context, ScoreRequest(), &response).error_code(), grpc::StatusCode::CANCELLED);
  });
  backend.WaitFor(1);
  context.TryCancel();
  while (!backend.FirstIsCanceled()) std::this_thread::sleep_for(milliseconds(1));
  backend.AnswerAll();
}

TEST(RpcServer, WhatHasArrivedIsAnsweredBeforeTheServerGoes) {
  HeldBackend backend;
  const auto server = StartServer(backend.Make(), {.last_call = milliseconds(10)});
  const auto stub = Connect(*server);
  std::jthread client([&] { EXPECT_EQ(Ask(*stub, {1, 2, 3, 4}), 10); });
  backend.WaitFor(1);
  server->BeginDrain(std::chrono::seconds(20));
  backend.AnswerAll();
  EXPECT_TRUE(server->AwaitDrained());
}

TEST(RpcServer, AnEngineThatDropsARequestLeavesNoClientWithoutAnAnswer) {
  HeldBackend backend;
  const auto server = StartServer(backend.Make());
  const auto stub = Connect(*server);
  std::jthread client([&] {
    PatientContext context;
    inference::ModelInferResponse response;
    EXPECT_EQ(stub->ModelInfer(&context, ScoreRequest(), &response).error_code(), grpc::StatusCode::UNAVAILABLE);
  });
  backend.WaitFor(1);
  backend.DropAll();
}

// A call whose message never comes: gRPC's client library answers pings all the while.
class Silent {
 public:
  explicit Silent(const Server& server)
      : channel_(grpc::CreateChannel(server.address(), grpc::InsecureChannelCredentials())), stub_(channel_) {
    call_ = stub_.PrepareCall(&context_, "/inference.GRPCInferenceService/ModelInfer", &queue_);
    call_->StartCall(this);
    Next();
    // The connection's next call is handed over behind it, so now the server has both.
    Stub next(channel_);
    EXPECT_EQ(Ask(next, {1, 2, 3, 4}), 10);
  }
  ~Silent() { queue_.Shutdown(); }

  // How the server ends it.
  grpc::Status End() {
    grpc::Status status;
    call_->Finish(&status, this);
    Next();
    return status;
  }

 private:
  void Next() {
    void* tag;
    bool ok;
    (void)queue_.Next(&tag, &ok);
  }

  PatientContext context_;
  grpc::CompletionQueue queue_;
  const std::shared_ptr<grpc::Channel> channel_;
  grpc::GenericStub stub_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call_;
};

TEST(RpcServer, ACallWhoseMessageDoesNotComeIsCutOffAndTheNextIsAnswered) {
  AnsweringBackend backend;
  const auto server = StartServer(backend.Make(), {.timeout = milliseconds(200)});
  const auto stub = Connect(*server);
  Silent silent(*server);
  EXPECT_EQ(silent.End().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(Ask(*stub, {1, 2, 3, 4}), 10);
}

TEST(RpcServer, ACallWhoseMessageDoesNotComeHoldsUpNoShutdown) {
  AnsweringBackend backend;
  const auto server = StartServer(backend.Make(), {.last_call = milliseconds(10)});
  Silent silent(*server);
  server->BeginDrain(std::chrono::seconds(20));
  EXPECT_EQ(silent.End().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(server->AwaitDrained());
}

}  // namespace
}  // namespace recpile::rpc
