// Memory that runs out at every place where the HTTP server asks for some.
#include <gtest/gtest.h>

#include <spdlog/spdlog.h>

#include <boost/system/system_error.hpp>

#include "answering_backend.h"
#include "client.h"
#include "failing_new.h"
#include "http/server.h"
#include "logging.h"
#include "temporary_folder.h"
#include "tracing/tracing.h"

namespace recpile::http {
namespace {

using testing::Client;
using testing::FailingNew;

class HttpMemoryTest : public ::testing::TestWithParam<FailingNew::Fails> {
 protected:
  HttpMemoryTest() {
    serving::Context context = backend_.Make();
    context.trace = true;
    context.log = [](const serving::RequestRecord& record) { EXPECT_EQ(record.model, "toy"); };
    context.memory = &shared_memory_;
    context.budget = &large_;
    Start(std::move(context));
  }

  void Start(serving::Context context) {
    ServerOptions options;
    options.port = 0;
    server_ = std::move(Server::Bind(options)).value();
    EXPECT_TRUE(server_->Serve(std::move(context)).ok());
  }

  // 0: the connection was closed instead.
  unsigned Ask(const std::string& request) {
    try {
      Client client(server_->port());
      client.Send(request);
      return client.Receive().result_int();
    } catch (const boost::system::system_error&) {
      return 0;
    }
  }

  // `request`, over a connection of its own, is answered (with `expected`), refused for lack of memory, or cut off,
  // whichever allocation fails; and then it is answered.
  void Sweep(const std::string& request, unsigned expected = 200) {
    ASSERT_EQ(Ask(request), expected);
    size_t nth = 0;
    // Some come when the answer has been given, and do not fail each time.
    for (int spared = 0; spared < 5; ++nth) {
      bool failed = false;
      unsigned status;
      {
        const FailingNew failing(nth, GetParam());
        status = Ask(request);
        failed = failing.has_failed();
      }
      ASSERT_TRUE(status == expected || status == 503 || status == 500 || status == 0)
          << "allocation " << nth << ": " << status;
      ASSERT_TRUE(failed || status == expected) << "nothing failed, and yet: " << status;
      spared = failed ? 0 : spared + 1;
      ASSERT_EQ(Ask(request), expected) << "after allocation " << nth;
    }
    EXPECT_GT(nth, 5u);
  }

  testing::AnsweringBackend backend_;
  serving::SharedMemory shared_memory_{1 << 20};
  serving::ByteBudget large_{1 << 30}, small_{10};
  std::unique_ptr<Server> server_;
};

TEST_P(HttpMemoryTest, NoClientWaitsInVainAndTheNextIsAccepted) { Sweep(testing::Get("/v2/health/live")); }

TEST_P(HttpMemoryTest, NorDoesOneThatSendsJson) { Sweep(testing::Post(testing::kInferJson)); }

// So much that it is decoded on another thread.
TEST_P(HttpMemoryTest, NorDoesOneThatSendsMuchJson) {
  std::string rows;
  for (int i = 0; i < 12'000; ++i) rows += i == 0 ? "[1,2,3,4]" : ",[1,2,3,4]";
  Sweep(testing::Post(R"({"inputs":[{"name":"dense","datatype":"FP32","shape":[12000,4],"data":[)" + rows +
                      R"(]}],"outputs":[{"name":"score","parameters":{"binary_data":true}}]})"));
}

TEST_P(HttpMemoryTest, NorDoesOneThatSendsBinaryTensors) {
  const std::string json =
      R"({"inputs":[{"name":"dense","datatype":"FP32","shape":[1,4],"parameters":{"binary_data_size":16}}],)"
      R"("outputs":[{"name":"score","parameters":{"binary_data":true}}]})";
  Sweep(testing::Post(json + std::string(16, '\0'),
                      "Inference-Header-Content-Length: " + std::to_string(json.size()) + "\r\n"));
}

TEST_P(HttpMemoryTest, NorDoesOneWhoseRequestIsRefused) {
  Sweep(testing::Post(R"({"inputs":[{"name":"stranger","shape":[1,4],"data":[1,2,3,4]}],"outputs":[]})"), 400);
}

TEST_P(HttpMemoryTest, NorDoesOneForWhoseRequestThereIsNoRoom) {
  serving::Context context = backend_.Make();
  context.budget = &small_;
  Start(std::move(context));
  Sweep(testing::Post(testing::kInferJson), 503);
}

TEST_P(HttpMemoryTest, NorDoesOneThatControlsTheServer) {
  const std::string body = R"({"parameters":{"config":{"max_batch_size":[1,2]}}})";
  Sweep("POST /v2/repository/models/toy/load HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(body.size()) +
            "\r\n\r\n" + body,
        501);
}

TEST_P(HttpMemoryTest, NorDoesOneThatAsksWhatThereIs) {
  for (const char* target : {"/v2", "/v2/models/toy", "/v2/models/toy/config", "/v2/models/toy/stats",
                             "/v2/models/stats", "/v2/systemsharedmemory/status"}) {
    SCOPED_TRACE(target);
    Sweep(testing::Get(target));
  }
  Sweep("POST /v2/repository/index HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
}

TEST_P(HttpMemoryTest, NorDoesOneWhoseRequestIsLoggedAndTraced) {
  testing::TemporaryFolder folder;
  const auto tracing = tracing::Tracing::Begin(tracing::TraceFileOptions{.path = folder.path() / "trace"},
                                               tracing::OtlpOptions{.endpoint = {.host = "127.0.0.1", .port = "1"}}, 1);
  ASSERT_TRUE(tracing.ok()) << tracing.status().message();
  spdlog::set_level(spdlog::level::off);  // lines are made all the same
  CommandLine options;
  options.log_requests = true;
  for (const LogFormat format : {LogFormat::kText, LogFormat::kJson}) {
    options.log_format = format;
    serving::Context context = backend_.Make();
    context.trace = true;
    context.log = tracing.value()->OnRequest(RequestLog(options));
    Start(std::move(context));
    Sweep(
        testing::Post(testing::kInferJson, "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n"));
  }
  server_.reset();  // which knows the tracing
  spdlog::set_level(spdlog::level::info);
}

INSTANTIATE_TEST_SUITE_P(Fails, HttpMemoryTest,
                         ::testing::Values(FailingNew::Fails::kOne, FailingNew::Fails::kAllFromThere),
                         [](const auto& fails) {
                           return fails.param == FailingNew::Fails::kOne ? "OneAllocation" : "AllFromOneOn";
                         });

}  // namespace
}  // namespace recpile::http
