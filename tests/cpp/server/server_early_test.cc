// Requests that are refused before they have been read, over real sockets.
#include <gtest/gtest.h>

#include <string>

#include "client.h"
#include "held_backend.h"
#include "http/server.h"

namespace recpile::http {
namespace {

using testing::Client;
using testing::HeldBackend;
using testing::kInferAnswer;
using testing::kInferJson;
using testing::Post;

constexpr size_t kRows = 10'000;

class EarlyRefusal : public ::testing::Test {
 protected:
  ~EarlyRefusal() override { held_.AnswerAll(); }

  void Start(serving::Context context) {
    ServerOptions options;
    options.port = 0;
    auto server = Server::Bind(options);
    ASSERT_TRUE(server.ok()) << server.status().message();
    server_ = std::move(server).value();
    ASSERT_TRUE(server_->Serve(std::move(context)).ok());
  }

  // 160 kB of binary rows, with a timeout or none.
  static std::string Large(int64_t timeout) {
    const std::string json =
        R"({"id":"r1","inputs":[{"name":"dense","datatype":"FP32","shape":[)" + std::to_string(kRows) +
        R"(,4],"parameters":{"binary_data_size":)" + std::to_string(kRows * 16) +
        R"(}}],"outputs":[{"name":"score"}],"parameters":{"timeout":)" + std::to_string(timeout) + "}}";
    return Post(json + std::string(kRows * 16, '\0'),
                "Inference-Header-Content-Length: " + std::to_string(json.size()) + "\r\n");
  }

  HeldBackend held_;
  std::unique_ptr<Server> server_;
};

TEST_F(EarlyRefusal, ComesBeforeTheClientHasSentItsTensorsAndLeavesTheConnectionUsable) {
  Start(held_.Make(std::nullopt, Status::Unavailable("no time")));
  Client client(server_->port());
  const std::string request = Large(1000);
  for (int i = 0; i < 3; ++i) {
    client.Send(request.substr(0, 1000));
    const auto refusal = client.Receive();
    EXPECT_EQ(refusal.result_int(), 503u);
    EXPECT_EQ(refusal.body(), R"({"error":"no time"})");
    EXPECT_EQ(refusal["Retry-After"], "1");
    EXPECT_TRUE(refusal.keep_alive());
    client.Send(request.substr(1000));
  }
  client.Send(Post(kInferJson));
  held_.WaitFor(1);
  held_.AnswerAll();
  EXPECT_EQ(client.Receive().body(), kInferAnswer);
}

TEST_F(EarlyRefusal, IsNotForRequestsThatHaveTheTime) {
  Start(held_.Make(std::nullopt, Status::Unavailable("no time")));
  Client client(server_->port());
  client.Send(Large(0));
  held_.WaitFor(1);
  held_.AnswerAll();
  EXPECT_EQ(client.Receive().result_int(), 200u);
}

TEST_F(EarlyRefusal, IsCountedOnce) {
  Start(held_.Make(std::nullopt, Status::Unavailable("no time")));
  Client client(server_->port());
  client.Send(Large(1000));
  EXPECT_EQ(client.Receive().result_int(), 503u);
  const serving::ModelPtr model = held_.models()->Find("toy", "").value();
  EXPECT_EQ(model->meter->failures(serving::FailureReason::kRejected), 1u);
}

TEST_F(EarlyRefusal, ClientThatClosesInsteadOfSendingTheRestHarmsNobody) {
  Start(held_.Make(std::nullopt, Status::Unavailable("no time")));
  {
    Client client(server_->port());
    client.Send(Large(1000).substr(0, 1000));
    EXPECT_EQ(client.Receive().result_int(), 503u);
  }
  Client other(server_->port());
  other.Send(Post(kInferJson));
  held_.WaitFor(1);
  held_.AnswerAll();
  EXPECT_EQ(other.Receive().result_int(), 200u);
}

}  // namespace
}  // namespace recpile::http
