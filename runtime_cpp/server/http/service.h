// The KServe v2 endpoints over one model: from a request to its answer, without sockets.
#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <string>

#include "http/message.h"
#include "http/router.h"
#include "recpile/engine.h"

namespace recpile::http {

// What the endpoints need of an engine. Functions rather than an Engine, so that this library does not link it.
struct Backend {
  ModelInfo model;
  std::function<Status(InferRequest, InferCallback)> submit;  // as Engine::Submit
  std::function<EngineStats()> stats;
};

// Thread-safe. Must outlive every callback that `submit` was given.
class Service {
 public:
  // What is left to do before there is an answer: encoding it. Kept off the engine's threads, which have batches to
  // run.
  using Finish = std::function<Response()>;
  using Done = std::function<void(Finish)>;

  Service(Backend backend, std::string server_version);

  // The answer to a request whose body need not be read, because its header alone decides that it will be refused.
  std::optional<Response> Refuse(const RequestHead& head) const;

  // Calls `done` exactly once: before it returns, or later on an engine's thread.
  void Handle(Request request, Done done);

  // From now on the server reports that it is not ready, so that load balancers turn away. Inference goes on.
  void StartDraining() { draining_ = true; }
  bool draining() const { return draining_; }

 private:
  std::optional<Response> Refuse(const RequestHead& head, const Route& route) const;
  Response Get(Endpoint endpoint) const;
  void Infer(Request request, Done done);

  const Backend backend_;
  const std::string server_version_;
  std::atomic<bool> draining_ = false;
  std::atomic<uint64_t> success_ns_ = 0;
};

// {"error": message}, for failures below the endpoints too (a body that is too large, a header that is no HTTP).
Response ErrorResponse(int status, std::string_view message);

}  // namespace recpile::http
