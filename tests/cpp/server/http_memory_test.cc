// Memory that runs out at every place where the HTTP server asks for some.
#include <gtest/gtest.h>

#include <boost/system/system_error.hpp>

#include "answering_backend.h"
#include "client.h"
#include "failing_new.h"
#include "http/server.h"

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

  // `request`, over a connection of its own, is answered, refused for lack of memory, or cut off, whichever allocation
  // fails; and then it is answered.
  void Sweep(const std::string& request) {
    ASSERT_EQ(Ask(request), 200);
    size_t nth = 0;
    for (bool failed = true; failed; ++nth) {
      unsigned status;
      {
        const FailingNew failing(nth, GetParam());
        status = Ask(request);
        failed = failing.has_failed();
      }
      ASSERT_TRUE(status == 200 || status == 503 || status == 500 || status == 0)
          << "allocation " << nth << ": " << status;
      ASSERT_TRUE(failed || status == 200) << "nothing failed, and yet: " << status;
      ASSERT_EQ(Ask(request), 200) << "after allocation " << nth;
    }
    EXPECT_GT(nth, 5u);
  }

  testing::AnsweringBackend backend_;
  std::unique_ptr<Server> server_;
};

// Without JSON, whose library asks for memory where it must not fail: docs/serving.md.
TEST_P(HttpMemoryTest, NoClientWaitsInVainAndTheNextIsAccepted) { Sweep(testing::Get("/v2/health/live")); }

INSTANTIATE_TEST_SUITE_P(Fails, HttpMemoryTest,
                         ::testing::Values(FailingNew::Fails::kOne, FailingNew::Fails::kAllFromThere),
                         [](const auto& fails) {
                           return fails.param == FailingNew::Fails::kOne ? "OneAllocation" : "AllFromOneOn";
                         });

}  // namespace
}  // namespace recpile::http
