// Clients that close their connection before they have their answer, over real sockets.
#include <chrono>
#include <string>
#include <thread>

#include "server_fixture.h"

namespace recpile::http {
namespace {

using namespace std::chrono_literals;

class VanishingClient : public ServerFixture {
 protected:
  void SetUp() override { Start(); }

  // By the test's own time limit at the latest.
  void WaitUntilCanceled() {
    while (!held_.FirstIsCanceled()) std::this_thread::sleep_for(1ms);
  }

  uint64_t Canceled() {
    return held_.models()->Find("toy", "").value()->meter->failures(serving::FailureReason::kCanceled);
  }
};

TEST_F(VanishingClient, TheEngineLearnsOfAConnectionThatIsReset) {
  {
    Client client = Connect();
    client.Send(Post(kInferJson));
    held_.WaitFor(1);
    EXPECT_FALSE(held_.FirstIsCanceled());
    client.Vanish();
  }
  WaitUntilCanceled();
  held_.AnswerAll();
  EXPECT_EQ(Canceled(), 1u);
}

TEST_F(VanishingClient, AndOfOneThatIsClosed) {
  {
    Client client = Connect();
    client.Send(Post(kInferJson));
    held_.WaitFor(1);
  }
  WaitUntilCanceled();
}

TEST_F(VanishingClient, AlsoBehindANextRequestThatWasSentAlready) {
  {
    Client client = Connect();
    client.Send(Post(kInferJson));
    held_.WaitFor(1);
    client.Send(Get("/v2"));
  }
  WaitUntilCanceled();
}

TEST_F(VanishingClient, HarmsNobody) {
  {
    Client waiting = Connect();
    waiting.Send(Post(kInferJson));
    held_.WaitFor(1);
    waiting.Vanish();
    Client sending = Connect();
    sending.Send(Post(kInferJson).substr(0, 100));
    sending.Vanish();
  }
  held_.AnswerAll();
  Client client = Connect();
  client.Send(Get("/v2/health/ready"));
  EXPECT_EQ(client.Receive().result_int(), 200u);
}

TEST_F(VanishingClient, OneThatSendsItsNextRequestEarlyHasNotGone) {
  Client client = Connect();
  client.Send(Post(kInferJson));
  held_.WaitFor(1);
  client.Send(Post(kInferJson));
  std::this_thread::sleep_for(50ms);  // long enough for a mistake to show
  EXPECT_FALSE(held_.FirstIsCanceled());
  for (int i = 0; i < 2; ++i) {
    held_.WaitFor(1);
    held_.AnswerAll();
    EXPECT_EQ(client.Receive().body(), kInferAnswer);
  }
  EXPECT_EQ(Canceled(), 0u);
}

}  // namespace
}  // namespace recpile::http
