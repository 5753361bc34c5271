// The ways to a model: over gRPC, over HTTP, and in this process.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "recpile/engine.h"
#include "recpile/status.h"

namespace recpile::benchmark {

// Of one thread.
class Sender {
 public:
  using Clock = std::chrono::steady_clock;
  virtual ~Sender() = default;
  // `done` is called once: in WaitUntil, or on a thread of the sender.
  virtual void Send(std::function<void(bool ok)> done) = 0;
  virtual void WaitUntil(Clock::time_point time) { std::this_thread::sleep_until(time); }
};

// `address`: HOST:PORT. `request`: a serialized ModelInferRequest. `never_sleep`: the thread keeps its core while it
// waits.
std::unique_ptr<Sender> MakeGrpcSender(const std::string& address, const std::string& request, bool never_sleep);

// The same by gRPC's own client library.
std::unique_ptr<Sender> MakeGrpcLibrarySender(const std::string& address, const std::string& request);

// `request`: a whole HTTP request, header and body. Over `connections` connections that are kept open.
std::unique_ptr<Sender> MakeHttpSender(const std::string& address, const std::string& request, int connections,
                                       bool never_sleep);

// `request`: a serialized ModelInferRequest, decoded once. Loads the artifact.
Result<std::unique_ptr<Sender>> MakeEngineSender(const std::string& artifact, const EngineOptions& options,
                                                 const std::string& request, bool never_sleep);

}  // namespace recpile::benchmark
