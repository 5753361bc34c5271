// The port that Prometheus scrapes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "metrics/options.h"
#include "recpile/status.h"
#include "serving/context.h"

namespace recpile::metrics {

class Server {
 public:
  // kUnavailable: the port is taken or may not be used, or there is no such host.
  static Result<std::unique_ptr<Server>> Bind(const ServerOptions& options);
  ~Server();

  // From here on GET /metrics answers; 404 before. What `context` points to must outlive the server.
  void Serve(const serving::Context& context);

  std::string address() const;  // "127.0.0.1:8002"

 private:
  class Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace recpile::metrics
