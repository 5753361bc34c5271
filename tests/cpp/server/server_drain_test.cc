// Shutting down: every request that was read is answered, and nobody waits for long.
#include <atomic>
#include <chrono>
#include <deque>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include "server_fixture.h"

namespace recpile::http {
namespace {

using namespace std::chrono_literals;

// Nothing that should come takes so long, however busy the machine is.
constexpr auto kSurely = 60s;

// Connections that are idle when the drain begins are closed soon after; but where a test says so.
class ServerDrain : public ServerFixture {
 protected:
  static constexpr auto kLastCall = 50ms;

  void StartWith(std::chrono::milliseconds last_call) { Start({.timeout = kSurely, .last_call = last_call}); }
  // Drains, on a thread of its own, until long after the last call.
  std::future<bool> DrainBeyondTheLastCall() {
    server_->BeginDrain();
    auto drained = std::async(std::launch::async, [this] { return server_->AwaitDrained(kSurely); });
    EXPECT_EQ(drained.wait_for(4 * kLastCall), std::future_status::timeout);
    return drained;
  }
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
  StartWith(kSurely);
  server_->BeginDrain();
  server_->BeginDrain();
  EXPECT_TRUE(server_->AwaitDrained(0ms));
  EXPECT_TRUE(ConnectionsAreRefused());
}

TEST_F(ServerDrain, RequestsAtTheEngineAreAnswered) {
  StartWith(kLastCall);
  Client client = Connect();
  client.Send(Post(kInferJson));
  held_.WaitFor(1);
  auto drained = DrainBeyondTheLastCall();
  EXPECT_TRUE(ConnectionsAreRefused());
  held_.AnswerAll();
  EXPECT_TRUE(drained.get());
  const auto response = client.Receive();
  EXPECT_EQ(response.body(), kInferAnswer);
  EXPECT_FALSE(response.keep_alive());
}

TEST_F(ServerDrain, ARequestHalfReadIsReadAndAnswered) {
  StartWith(kLastCall);
  Client client = Connect();
  const std::string request = Post(kInferJson, "Expect: 100-continue\r\n");
  client.Send(request.substr(0, request.size() - 10));
  EXPECT_EQ(client.ReceiveRaw(25), "HTTP/1.1 100 Continue\r\n\r\n");  // so it has read the header
  auto drained = DrainBeyondTheLastCall();
  client.Send(request.substr(request.size() - 10));
  held_.WaitFor(1);
  held_.AnswerAll();
  EXPECT_TRUE(drained.get());
  EXPECT_EQ(client.Receive().body(), kInferAnswer);
}

TEST_F(ServerDrain, IdleConnectionsGetALastCall) {
  StartWith(kSurely);
  Client client = Connect();
  client.Send(Get("/v2/health/ready"));
  EXPECT_EQ(client.Receive().result_int(), 200u);
  server_->BeginDrain();
  client.Send(Get("/v2/health/ready"));
  const auto response = client.Receive();
  EXPECT_EQ(response.result_int(), 503u);
  EXPECT_FALSE(response.keep_alive());
  EXPECT_TRUE(server_->AwaitDrained(kSurely));
}

TEST_F(ServerDrain, ThoseThatDoNotHeedItAreClosed) {
  StartWith(kLastCall);
  Client client = Connect();
  client.Send(Get("/v2/health/ready"));
  EXPECT_EQ(client.Receive().result_int(), 200u);
  server_->BeginDrain();
  EXPECT_TRUE(client.ServerCloses());
  EXPECT_TRUE(server_->AwaitDrained(kSurely));
}

TEST_F(ServerDrain, TheGracePeriodIsALimit) {
  StartWith(kLastCall);
  Client client = Connect();
  client.Send(Post(kInferJson));
  held_.WaitFor(1);
  server_->BeginDrain();
  EXPECT_FALSE(server_->AwaitDrained(2 * kLastCall));
  held_.AnswerAll();  // too late, and harmless
  server_.reset();
  EXPECT_TRUE(client.ServerCloses());
}

TEST_F(ServerDrain, UnderLoadNoAnswerIsLost) {
  StartWith(kSurely);  // clients that are slow to send their next request are not what this is about
  std::atomic<bool> stop = false;
  std::atomic<int> answered = 0;
  std::atomic<int> lost = 0;
  std::thread engine([&] {
    while (!stop) held_.AnswerAll();
  });
  // Connected before the drain begins: who comes later is refused, and rightly.
  std::deque<Client> connections;
  std::vector<std::thread> clients;
  for (int i = 0; i < 4; ++i) {
    Client& client = connections.emplace_back(server_->port());
    clients.emplace_back([&] {
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
  while (answered < 200 && lost == 0) std::this_thread::sleep_for(1ms);
  server_->BeginDrain();
  EXPECT_TRUE(server_->AwaitDrained(kSurely));
  for (std::thread& client : clients) client.join();
  stop = true;
  engine.join();
  EXPECT_EQ(lost, 0);
}

}  // namespace
}  // namespace recpile::http
