// Memory that runs out at every place where the server's gRPC code asks for some.
#include <gtest/gtest.h>

#include <functional>

#include "answering_backend.h"
#include "failing_new.h"
#include "rpc/health.grpc.pb.h"
#include "rpc_client.h"

namespace recpile::rpc {
namespace {

using testing::FailingNew;

class RpcMemoryTest : public ::testing::TestWithParam<FailingNew::Fails> {
 protected:
  RpcMemoryTest() {
    serving::Context context = backend_.Make();
    context.trace = true;
    context.log = [](const serving::RequestRecord& record) { EXPECT_EQ(record.model, "toy"); };
    server_ = StartServer(std::move(context));
    stub_ = Connect(*server_);
  }

  // `call` is answered, or refused for lack of memory, whichever allocation fails; and then it is answered.
  void Sweep(const std::function<grpc::Status()>& call) {
    ASSERT_TRUE(call().ok());
    size_t nth = 0;
    for (bool failed = true; failed; ++nth) {
      grpc::Status status;
      {
        const FailingNew failing(nth, GetParam());
        status = call();
        failed = failing.has_failed();
      }
      const bool refused =
          status.error_code() == grpc::StatusCode::UNAVAILABLE || status.error_code() == grpc::StatusCode::INTERNAL;
      ASSERT_TRUE(status.ok() || refused) << "allocation " << nth << ": " << status.error_message();
      ASSERT_TRUE(failed || status.ok()) << "nothing failed, and yet: " << status.error_message();
      status = call();
      ASSERT_TRUE(status.ok()) << "after allocation " << nth << ": " << status.error_message();
    }
    EXPECT_GT(nth, 5u);
  }

  testing::AnsweringBackend backend_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<Stub> stub_;
};

TEST_P(RpcMemoryTest, EveryInferCallIsAnswered) {
  const inference::ModelInferRequest request = ScoreRequest();
  Sweep([&] {
    PatientContext context;
    context.AddMetadata("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    inference::ModelInferResponse response;
    const grpc::Status status = stub_->ModelInfer(&context, request, &response);
    if (status.ok()) {
      EXPECT_EQ(ScoreOf(response), 10);
    }
    return status;
  });
}

TEST_P(RpcMemoryTest, EveryOtherCallIsAnswered) {
  Sweep([&] {
    PatientContext context;
    inference::ModelMetadataRequest request;
    request.set_name("toy");
    inference::ModelMetadataResponse response;
    return stub_->ModelMetadata(&context, request, &response);
  });
}

TEST_P(RpcMemoryTest, EveryProbeIsAnswered) {
  const auto health =
      grpc::health::v1::Health::NewStub(grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials()));
  Sweep([&] {
    PatientContext context;
    grpc::health::v1::HealthCheckRequest request;
    request.set_service("inference.GRPCInferenceService");
    grpc::health::v1::HealthCheckResponse response;
    return health->Check(&context, request, &response);
  });
}

INSTANTIATE_TEST_SUITE_P(Fails, RpcMemoryTest,
                         ::testing::Values(FailingNew::Fails::kOne, FailingNew::Fails::kAllFromThere),
                         [](const auto& fails) {
                           return fails.param == FailingNew::Fails::kOne ? "OneAllocation" : "AllFromOneOn";
                         });

}  // namespace
}  // namespace recpile::rpc
