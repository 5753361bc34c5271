// Shutting down: every request that was read is answered, and nobody waits for long.
#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "server_fixture.h"

namespace recpile::http {
namespace {

using namespace std::chrono_literals;

class ServerDrain : public ServerFixture {
 protected:
  void SetUp() override { Start({.timeout = 5'000ms, .last_call = 300ms}); }
  bool ConnectionsAreRefused() {
    try {
      Connect();
      return false;
    } catch (const boost::system::system_error&) {
      return true;
    }
  }
};

TEST_F(ServerDrain, WithoutConnectionsItEndsAtOnce) {
  server_->BeginDrain();
  server_->BeginDrain();
  EXPECT_TRUE(server_->AwaitDrained(0ms));
  EXPECT_TRUE(ConnectionsAreRefused());
}

TEST_F(ServerDrain, RequestsAtTheEngineAreAnswered) {
  Client client = Connect();
  client.Send(Post(kInferJson));
  held_.WaitFor(1);
  server_->BeginDrain();
  EXPECT_TRUE(ConnectionsAreRefused());
  std::thread engine([this] {
    std::this_thread::sleep_for(200ms);
    held_.AnswerAll();
  });
  EXPECT_TRUE(server_->AwaitDrained(5s));
  engine.join();
  const auto response = client.Receive();
  EXPECT_EQ(response.body(), kInferAnswer);
  EXPECT_FALSE(response.keep_alive());
}

TEST_F(ServerDrain, ARequestHalfReadIsReadAndAnswered) {
  Client client = Connect();
  const std::string request = Post(kInferJson);
  client.Send(request.substr(0, request.size() - 10));
  Client probe = Connect();  // its answer shows that the server has had the time to read the first half
  probe.Send(Get("/v2"));
  probe.Receive();
  server_->BeginDrain();
  std::thread rest([&] {
    std::this_thread::sleep_for(400ms);  // after the last call
    client.Send(request.substr(request.size() - 10));
    held_.WaitFor(1);
    held_.AnswerAll();
  });
  EXPECT_TRUE(server_->AwaitDrained(5s));
  rest.join();
  EXPECT_EQ(client.Receive().body(), kInferAnswer);
}

TEST_F(ServerDrain, IdleConnectionsGetALastCall) {
  Client idle = Connect();
  Client active = Connect();
  for (Client* client : {&idle, &active}) {
    client->Send(Get("/v2/health/ready"));
    EXPECT_EQ(client->Receive().result_int(), 200u);
  }
  server_->BeginDrain();
  active.Send(Get("/v2/health/ready"));
  const auto response = active.Receive();
  EXPECT_EQ(response.result_int(), 503u);
  EXPECT_FALSE(response.keep_alive());
  EXPECT_TRUE(idle.ServerCloses());
  EXPECT_TRUE(server_->AwaitDrained(5s));
}

TEST_F(ServerDrain, TheGracePeriodIsALimit) {
  Client client = Connect();
  client.Send(Post(kInferJson));
  held_.WaitFor(1);
  server_->BeginDrain();
  EXPECT_FALSE(server_->AwaitDrained(50ms));
  held_.AnswerAll();  // too late, and harmless
  server_.reset();
  EXPECT_TRUE(client.ServerCloses());
}

TEST_F(ServerDrain, UnderLoadNoAnswerIsLost) {
  std::atomic<bool> stop = false;
  std::atomic<int> answered = 0;
  std::atomic<int> lost = 0;
  std::thread engine([&] {
    while (!stop) held_.AnswerAll();
  });
  std::vector<std::thread> clients;
  for (int i = 0; i < 4; ++i) {
    clients.emplace_back([&] {
      Client client = Connect();
      for (;;) {
        try {
          client.Send(Post(kInferJson));
          const auto response = client.Receive();
          ++answered;
          if (!response.keep_alive()) return;
        } catch (const boost::system::system_error&) {
          ++lost;
          return;
        }
      }
    });
  }
  while (answered < 200) std::this_thread::sleep_for(1ms);
  server_->BeginDrain();
  EXPECT_TRUE(server_->AwaitDrained(5s));
  for (std::thread& client : clients) client.join();
  stop = true;
  engine.join();
  EXPECT_EQ(lost, 0);
}

}  // namespace
}  // namespace recpile::http
