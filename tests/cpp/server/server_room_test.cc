// Requests for whose bytes there is no room, over real sockets.
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "server_fixture.h"

namespace recpile::http {
namespace {

constexpr size_t kLength = sizeof(kInferJson) - 1;

class Room : public ServerFixture {
 protected:
  // For two requests and a half.
  void SetUp() override { Start({}, 2 * kLength + kLength / 2); }

  uint64_t Rejected() {
    return held_.models()->Find("toy", "").value()->meter->failures(serving::FailureReason::kRejected);
  }

  bool Held(uint64_t bytes) {
    return testing::Eventually([&] { return budget_->held() == bytes; });
  }

  static void ExpectNoRoom(const Client::Response& answer) {
    EXPECT_EQ(answer.result_int(), 503u);
    EXPECT_EQ(answer["Retry-After"], "1");
    EXPECT_NE(answer.body().find("--max-pending-bytes"), std::string::npos) << answer.body();
  }

  void ExpectAnswer(Client* client) {
    client->Send(Post(kInferJson));
    held_.WaitFor(1);
    held_.AnswerAll();
    EXPECT_EQ(client->Receive().body(), kInferAnswer);
  }
};

TEST_F(Room, OfRequestsThatWaitIsThereAgainWhenTheyAreAnswered) {
  Client first = Connect(), second = Connect(), third = Connect();
  first.Send(Post(kInferJson));
  second.Send(Post(kInferJson));
  held_.WaitFor(2);
  EXPECT_EQ(budget_->held(), 2 * kLength);
  third.Send(Post(kInferJson));
  ExpectNoRoom(third.Receive());
  EXPECT_EQ(Rejected(), 1u);
  held_.AnswerAll();
  EXPECT_EQ(first.Receive().body(), kInferAnswer);
  EXPECT_EQ(second.Receive().body(), kInferAnswer);
  ASSERT_TRUE(Held(0));
  ExpectAnswer(&third);
}

TEST_F(Room, IsNotTakenByWhatIsOnlyAnnounced) {
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 10; ++i) {
    clients.push_back(std::make_unique<Client>(server_->port()));
    clients.back()->Send("POST /v2/models/toy/infer HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(kLength) +
                         "\r\n\r\n");
  }
  Client client = Connect();
  ExpectAnswer(&client);
}

TEST_F(Room, ThatEndsInTheMiddleOfABodyEndsTheRequestAndNotTheConnection) {
  Client client = Connect();
  const std::string request = Post(std::string(10 * kLength, ' ')), part(kLength, ' ');
  client.Send(std::string_view(request).substr(0, request.size() - 9 * kLength));
  ASSERT_TRUE(Held(kLength));
  client.Send(part);
  ASSERT_TRUE(Held(2 * kLength));
  client.Send(part);
  ExpectNoRoom(client.Receive());
  EXPECT_EQ(Rejected(), 1u);
  ASSERT_TRUE(Held(0));
  for (int i = 0; i < 7; ++i) client.Send(part);
  ExpectAnswer(&client);
}

TEST_F(Room, ThatEndsWithTheLastPartOfABodyDoesTheSame) {
  Client client = Connect();
  const std::string request = Post(std::string(3 * kLength, ' '));
  client.Send(std::string_view(request).substr(0, request.size() - kLength));
  ASSERT_TRUE(Held(2 * kLength));
  client.Send(std::string(kLength, ' '));
  ExpectNoRoom(client.Receive());
  ASSERT_TRUE(Held(0));
  ExpectAnswer(&client);
}

TEST_F(Room, ThatIsNotThereForABodyThatComesWithItsHeaderDoesTheSame) {
  Client client = Connect();
  client.Send(Post(std::string(3 * kLength, ' ')) + Get("/v2/health/ready"));
  ExpectNoRoom(client.Receive());
  EXPECT_EQ(client.Receive().result_int(), 200u);
}

TEST_F(Room, ThatEndsInTheMiddleOfAChunkedBodyEndsTheConnection) {
  Client client = Connect();
  client.Send("POST /v2/models/toy/infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
  client.Send("10\r\n" + std::string(0x10, ' ') + "\r\n");
  ASSERT_TRUE(Held(0x10));
  client.Send("1000\r\n" + std::string(0x1000, ' '));
  ExpectNoRoom(client.Receive());
  EXPECT_EQ(Rejected(), 1u);
  // While the client has not closed.
  EXPECT_EQ(budget_->held(), 0u);
  EXPECT_TRUE(client.ServerCloses());
}

TEST_F(Room, OfAClientThatVanishesIsThereAgain) {
  {
    Client client = Connect();
    client.Send(Post(kInferJson).substr(0, 150));
    ASSERT_TRUE(testing::Eventually([this] { return budget_->held() > 0; }));
    client.Vanish();
  }
  ASSERT_TRUE(Held(0));
}

TEST_F(Room, IsNeededForRequestsOfAllKinds) {
  Client first = Connect(), second = Connect(), third = Connect();
  first.Send(Post(kInferJson));
  second.Send(Post(kInferJson));
  held_.WaitFor(2);
  const std::string body(kLength, ' ');
  third.Send("POST /v2/repository/index HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(body.size()) +
             "\r\n\r\n" + body);
  ExpectNoRoom(third.Receive());
  EXPECT_EQ(Rejected(), 0u);  // by no model
  third.Send(Get("/v2/health/ready"));
  EXPECT_EQ(third.Receive().result_int(), 200u);
}

}  // namespace
}  // namespace recpile::http
