// Every port that the server listens on.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "http/server.h"
#include "metrics/server.h"
#include "options.h"
#include "serving/context.h"
#ifdef RECPILE_GRPC
#include "rpc/server.h"
#endif

namespace recpile {

// Bind, Serve, Drain, in this order; destroyed only after every engine has stopped.
class FrontDoor {
 public:
  // Claims the ports, so that one that is taken shows before minutes of loading. kInvalidArgument: an option.
  // kUnavailable: a port.
  Status Bind(const CommandLine& options);

  // What `context` points to must outlive this object.
  Status Serve(const serving::Context& context);

  // Answers what was read, at most for `grace`; false: not all of it.
  bool Drain(std::chrono::milliseconds grace);

  // " http=http://127.0.0.1:8000 grpc=127.0.0.1:8001": what listens where.
  std::string Addresses() const;

 private:
  std::unique_ptr<http::Server> http_;
  std::unique_ptr<metrics::Server> metrics_;
#ifdef RECPILE_GRPC
  std::unique_ptr<rpc::Server> grpc_;
#endif
};

}  // namespace recpile
