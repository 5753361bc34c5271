// The ways to a model: over gRPC, over HTTP, and in this process.
#pragma once

#include <memory>
#include <string>

#include "open_loop.h"
#include "recpile/engine.h"
#include "recpile/status.h"

namespace recpile::benchmark {

class Sender {
 public:
  virtual ~Sender() = default;
  virtual void Send(std::function<void(bool ok)> done) = 0;
};

// `request`: a serialized ModelInferRequest.
std::unique_ptr<Sender> MakeGrpcSender(const std::string& address, const std::string& request);

// `request`: a whole HTTP request, header and body. Over `connections` connections that are kept open.
std::unique_ptr<Sender> MakeHttpSender(const std::string& host, const std::string& port, const std::string& request,
                                       int connections);

// `request`: a serialized ModelInferRequest, decoded once. Loads the artifact.
Result<std::unique_ptr<Sender>> MakeEngineSender(const std::string& artifact, const EngineOptions& options,
                                                 const std::string& request);

}  // namespace recpile::benchmark
