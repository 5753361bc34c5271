// The gRPC server. Its life is that of http::Server:
//
//   server = Server::Bind(options)    // claims the port; calls wait
//   server->Serve(context)            // they are answered from here on
//   server->BeginDrain(grace)         // SIGTERM: no new connections, not ready, calls that have arrived are answered
//   server->AwaitDrained()            // until then, or until the grace period is over
//   engine->Stop()                    // no callback comes after this; only now may the server be destroyed
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "recpile/status.h"
#include "rpc/options.h"
#include "serving/context.h"

namespace recpile::rpc {

class Server {
 public:
  // kInvalidArgument: no such host. kUnavailable: the port is taken or may not be used.
  static Result<std::unique_ptr<Server>> Bind(const ServerOptions& options);

  // Cuts off what is still open. Every callback that a model's engine was given must have been called before.
  ~Server();

  // What `context` points to must outlive the server.
  Status Serve(serving::Context context);

  // Returns at once. Idempotent. After Serve.
  void BeginDrain(std::chrono::milliseconds grace);

  // False: calls were cut off unanswered. After BeginDrain.
  bool AwaitDrained();

  uint16_t port() const;
  std::string address() const;  // "127.0.0.1:8001"

 private:
  class Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace recpile::rpc
