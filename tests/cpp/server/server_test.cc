// The server over real sockets.
#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "server_fixture.h"

namespace recpile::http {
namespace {

using namespace std::chrono_literals;

using ServerTest = ServerFixture;

TEST_F(ServerTest, KeepsTheConnectionForSeveralRequests) {
  Start();
  Client client = Connect();
  for (int i = 0; i < 3; ++i) {
    client.Send(Post(kInferJson));
    held_.WaitFor(1);
    held_.AnswerAll();
    const auto response = client.Receive();
    EXPECT_EQ(response.result_int(), 200u);
    EXPECT_EQ(response.body(), kInferAnswer);
    EXPECT_TRUE(response.keep_alive());
  }
}

TEST_F(ServerTest, ClosesWhenAskedTo) {
  Start();
  Client client = Connect();
  client.Send("GET /v2 HTTP/1.1\r\nConnection: close\r\n\r\n");
  EXPECT_FALSE(client.Receive().keep_alive());
  EXPECT_TRUE(client.ServerCloses());
  Client old = Connect();
  old.Send("GET /v2 HTTP/1.0\r\n\r\n");
  EXPECT_EQ(old.Receive().result_int(), 200u);
  EXPECT_TRUE(old.ServerCloses());
}

TEST_F(ServerTest, OldClientsMayKeepTheConnectionToo) {
  Start();
  Client client = Connect();
  for (int i = 0; i < 2; ++i) {
    client.Send("GET /v2 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    const auto response = client.Receive();
    EXPECT_EQ(response.version(), 10u);
    EXPECT_TRUE(response.keep_alive());
  }
}

TEST_F(ServerTest, HeadHasTheLengthButNoBody) {
  Start();
  Client client = Connect();
  for (const char* target : {"/v2", "/nowhere"}) {
    client.Send("HEAD " + std::string(target) + " HTTP/1.1\r\n\r\n");
    const auto head = client.Receive(/*head_request=*/true);
    EXPECT_NE(head[boost::beast::http::field::content_length], "0");
  }
  client.Send(Get("/v2/health/live"));  // in step still: no stray body came
  EXPECT_EQ(client.Receive().result_int(), 200u);
}

TEST_F(ServerTest, ErrorsAreJsonWithTheirHeaders) {
  Start();
  Client client = Connect();
  client.Send(Get("/v2/models/toy/infer"));
  const auto method = client.Receive();
  EXPECT_EQ(method.result_int(), 405u);
  EXPECT_EQ(method[boost::beast::http::field::allow], "POST");
  client.Send(Post(kInferJson));
  held_.WaitFor(1);
  held_.AnswerAll(Status::Unavailable("the queue is full"));
  const auto busy = client.Receive();
  EXPECT_EQ(busy.result_int(), 503u);
  EXPECT_EQ(busy[boost::beast::http::field::retry_after], "1");
  EXPECT_EQ(busy.body(), R"({"error":"the queue is full"})");
}

TEST_F(ServerTest, BinaryTensorsArriveAlignedAndLeaveInBinary) {
  Start();
  const std::string json =
      R"({"inputs":[{"name":"dense","datatype":"FP32","shape":[1,4],"parameters":{"binary_data_size":16}}],)"
      R"("outputs":[{"name":"score","parameters":{"binary_data":true}}]})";
  Client client = Connect();
  client.Send(Post(json + testing::Bytes<float>({1, 2, 3, 0.5f}),
                   "Inference-Header-Content-Length: " + std::to_string(json.size()) + "\r\n"));
  held_.WaitFor(1);
  held_.AnswerAll();
  const auto response = client.Receive();
  EXPECT_EQ(response.result_int(), 200u);
  EXPECT_EQ(response[boost::beast::http::field::content_type], "application/octet-stream");
  const size_t json_length = std::stoul(std::string(response["Inference-Header-Content-Length"]));
  EXPECT_EQ(response.body().substr(json_length), testing::Bytes<float>({6.5f}));
}

TEST_F(ServerTest, AcceptsChunkedBodies) {
  Start();
  const std::string body = kInferJson;
  Client client = Connect();
  client.Send("POST /v2/models/toy/infer HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n" + body.substr(0, 5) +
              "\r\n");
  std::string size(8, '\0');
  size.resize(static_cast<size_t>(std::snprintf(size.data(), size.size(), "%zx", body.size() - 5)));
  client.Send(size + "\r\n" + body.substr(5) + "\r\n0\r\n\r\n");
  held_.WaitFor(1);
  held_.AnswerAll();
  EXPECT_EQ(client.Receive().body(), kInferAnswer);
}

TEST_F(ServerTest, SaysContinueOnlyToRequestsThatItWillRead) {
  Start();
  const std::string request = Post(kInferJson, "Expect: 100-continue\r\n");
  const size_t header = request.size() - std::string(kInferJson).size();
  Client client = Connect();
  client.Send(request.substr(0, header));
  EXPECT_EQ(client.ReceiveRaw(25), "HTTP/1.1 100 Continue\r\n\r\n");
  client.Send(request.substr(header));
  held_.WaitFor(1);
  held_.AnswerAll();
  EXPECT_EQ(client.Receive().result_int(), 200u);

  Client refused = Connect();
  refused.Send("POST /v2/models/other/infer HTTP/1.1\r\nContent-Length: 99\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(refused.Receive().result_int(), 404u);
  Client strange = Connect();
  strange.Send("POST /v2/models/toy/infer HTTP/1.1\r\nContent-Length: 99\r\nExpect: cake\r\n\r\n");
  EXPECT_EQ(strange.Receive().result_int(), 417u);
}

TEST_F(ServerTest, ATooLargeBodyIsRefusedAndTheClientHearsOfIt) {
  Start({.max_request_bytes = 1000});
  const std::string large(4 << 20, 'x');
  Client declared = Connect();
  declared.TrySend(Post(large));
  EXPECT_EQ(declared.Receive().result_int(), 413u);
  Client chunked = Connect();
  chunked.TrySend("POST /v2/models/toy/infer HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n400000\r\n" + large);
  EXPECT_EQ(chunked.Receive().result_int(), 413u);
  Client header = Connect();
  header.TrySend("GET /v2 HTTP/1.1\r\nX: " + std::string(100'000, 'x'));
  EXPECT_EQ(header.Receive().result_int(), 431u);
}

TEST_F(ServerTest, WhatIsNotHttpIsRefused) {
  Start();
  for (const char* text : {"nonsense\r\n\r\n", "GET /v2 HTTP/9.9\r\n\r\n", "\x16\x03\x01\x02\r\n",
                           "POST /v2 HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
                           "POST /v2 HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"}) {
    Client client = Connect();
    client.Send(text);
    EXPECT_EQ(client.Receive().result_int(), 400u) << text;
    EXPECT_TRUE(client.ServerCloses());
  }
}

TEST_F(ServerTest, SlowAndIdleClientsAreCutOff) {
  Start({.timeout = 300ms});
  Client idle = Connect();
  Client half_body = Connect();
  half_body.Send(Post(kInferJson).substr(0, 120));
  Client trickle = Connect();
  // Each byte comes well within the limit, the header as a whole never does: it is not waited for as long as they come.
  int bytes = 0;
  while (bytes < 400 && trickle.TrySend("G")) {
    ++bytes;
    std::this_thread::sleep_for(50ms);
  }
  EXPECT_LT(bytes, 400);
  EXPECT_TRUE(trickle.ServerCloses());
  EXPECT_TRUE(idle.ServerCloses());
  EXPECT_TRUE(half_body.ServerCloses());
}

TEST_F(ServerTest, ManyConnectionsOnSeveralThreads) {
  Start({.io_threads = 3});
  std::vector<std::thread> clients;
  std::atomic<int> answered = 0;
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back([&] {
      Client client = Connect();
      for (int k = 0; k < 50; ++k) {
        client.Send(Post(kInferJson));
        if (client.Receive().body() == kInferAnswer) ++answered;
      }
    });
  }
  while (answered < 8 * 50) held_.AnswerAll();
  for (std::thread& client : clients) client.join();
}

TEST(ServerBind, SaysWhatIsWrong) {
  HeldBackend held;
  const auto first = Server::Bind({.port = 0});
  ASSERT_TRUE(first.ok());
  ASSERT_TRUE(first.value()->Serve(held.Make()).ok());
  const uint16_t port = first.value()->port();
  EXPECT_EQ(first.value()->url(), "http://127.0.0.1:" + std::to_string(port));
  const auto second = Server::Bind({.port = port});
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), StatusCode::kUnavailable);
  EXPECT_NE(second.status().message().find("in use"), std::string::npos);
  // A name longer than any may be, for which no name server is asked.
  const auto nowhere = Server::Bind({.host = std::string(300, 'x')});
  ASSERT_FALSE(nowhere.ok());
  EXPECT_EQ(nowhere.status().code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace recpile::http
