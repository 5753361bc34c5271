// The HTTP server: a port, a few I/O threads, and the sessions on them.
//
//   server = Server::Bind(options)      // early: a taken port shows before minutes of loading
//   server->Serve(context)              // connections are accepted from here on
//   server->BeginDrain()                // SIGTERM: no new connections, not ready, every answer closes its connection
//   server->AwaitDrained(grace)         // until every request that was read is answered
//   engine->Stop()                      // no callback comes after this; only now may the server be destroyed
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "http/service.h"
#include "recpile/status.h"
#include "serving/tls.h"

namespace recpile::http {

struct ServerOptions {
  std::string host = "127.0.0.1";
  uint16_t port = 8000;  // 0: any free one
  // One is plenty: the threads only move and decode bytes, and the cores belong to the stages.
  int io_threads = 1;
  uint64_t max_request_bytes = 64 << 20;
  // For each of: waiting for a request's header (so also idling), reading its body, writing its answer.
  std::chrono::milliseconds timeout{30'000};
  // After BeginDrain an idle connection is closed only when this has passed: most clients that keep connections open
  // are about to send their next request, and get it answered with `Connection: close` instead of finding a closed
  // socket.
  std::chrono::milliseconds last_call{200};
  std::optional<serving::TlsFiles> tls;
};

class Server {
 public:
  static Result<std::unique_ptr<Server>> Bind(const ServerOptions& options);

  // Cuts off what is still open. Every callback that a model's engine was given must have been called before.
  ~Server();

  // What `context` points to must outlive the server.
  Status Serve(serving::Context context);

  // Returns when the port is closed. Idempotent. After Serve.
  void BeginDrain();

  // Waits until every connection is closed, at most for `grace`, and ends the I/O threads. False: connections were cut
  // off unanswered. After BeginDrain.
  bool AwaitDrained(std::chrono::milliseconds grace);

  uint16_t port() const;
  std::string url() const;  // "http://127.0.0.1:8000", or https

 private:
  class Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace recpile::http
