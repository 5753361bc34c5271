// The HTTP server with a backend that waits for the test, and clients of it.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <utility>

#include "client.h"
#include "held_backend.h"
#include "http/server.h"

namespace recpile::http {

using testing::Client;
using testing::Get;
using testing::HeldBackend;
using testing::kInferAnswer;
using testing::kInferJson;
using testing::Post;

class ServerFixture : public ::testing::Test {
 protected:
  // Engines answer every request before their server goes.
  ~ServerFixture() override { held_.AnswerAll(); }

  // On any free port. With room for so many bytes of requests; 0: for any number.
  void Start(ServerOptions options = {}, uint64_t room = 0) {
    options.port = 0;
    auto server = Server::Bind(options);
    ASSERT_TRUE(server.ok()) << server.status().message();
    server_ = std::move(server).value();
    serving::Context context = held_.Make();
    if (room > 0) context.budget = &budget_.emplace(room);
    const Status served = server_->Serve(std::move(context));
    ASSERT_TRUE(served.ok()) << served.message();
  }
  Client Connect() { return Client(server_->port()); }

  std::optional<serving::ByteBudget> budget_;
  HeldBackend held_;
  std::unique_ptr<Server> server_;
};

}  // namespace recpile::http
