// gRPC requests for whose bytes there is no room.
#include <future>

#include "held_backend.h"
#include "rpc_client.h"

namespace recpile::rpc {
namespace {

class RpcRoom : public ::testing::Test {
 protected:
  // For a request and a half.
  RpcRoom() : budget_(ScoreRequest().ByteSizeLong() * 3 / 2) {
    serving::Context context = held_.Make();
    context.budget = &budget_;
    server_ = StartServer(std::move(context));
    stub_ = Connect(*server_);
  }
  ~RpcRoom() override { held_.AnswerAll(); }

  grpc::Status Infer() {
    PatientContext context;
    inference::ModelInferResponse response;
    return stub_->ModelInfer(&context, ScoreRequest(), &response);
  }

  serving::ByteBudget budget_;
  testing::HeldBackend held_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<Stub> stub_;
};

TEST_F(RpcRoom, OfARequestThatWaitsIsThereAgainWhenItIsAnswered) {
  for (int round = 0; round < 2; ++round) {
    std::future<grpc::Status> waiting = std::async(std::launch::async, [this] { return Infer(); });
    held_.WaitFor(1);
    EXPECT_EQ(budget_.held(), ScoreRequest().ByteSizeLong());
    const grpc::Status refused = Infer();
    EXPECT_EQ(refused.error_code(), grpc::StatusCode::UNAVAILABLE);
    EXPECT_NE(refused.error_message().find("--max-pending-bytes"), std::string::npos) << refused.error_message();
    held_.AnswerAll();
    EXPECT_TRUE(waiting.get().ok());
    // Given back as soon as the answer is sent, which the client may hear of first.
    ASSERT_TRUE(testing::Eventually([this] { return budget_.held() == 0; }));
  }
  EXPECT_EQ(held_.models()->Find("toy", "").value()->meter->failures(serving::FailureReason::kRejected), 2u);
}

}  // namespace
}  // namespace recpile::rpc
