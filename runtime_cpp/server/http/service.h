// The KServe v2 endpoints: from a request to its answer, without sockets.
#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "http/message.h"
#include "http/router.h"
#include "serving/context.h"

namespace recpile::http {

// Thread-safe. Must outlive every callback that a model's engine or the repository was given.
class Service {
 public:
  // What is left to do before there is an answer: encoding it. Kept off the engine's threads, which have batches to
  // run.
  using Finish = std::function<Response()>;
  using Done = std::function<void(Finish)>;

  explicit Service(serving::Context context);

  // The answer to a request whose body need not be read, because its header alone decides that it will be refused.
  std::optional<Response> Refuse(const RequestHead& head) const;

  // The answer to an infer request for which there is no room, or as far as `beginning`, what has arrived of its body,
  // tells no time: so that the rest need not be read. Counted as any other request.
  std::optional<Response> RefuseEarly(const RequestHead& head, std::string_view beginning) const;

  // For the bytes of a request that is read; and its answer where there is no room for them. Counted likewise.
  serving::ByteBudget::Share Hold() const { return serving::ByteBudget::Share(context_.budget); }
  Response RefuseForRoom(const RequestHead& head) const;

  // Calls `done` exactly once: before it returns, or later on a thread of an engine or of the repository.
  void Handle(Request request, Done done);

  // From now on the server reports that it is not ready, so that load balancers turn away. Inference goes on.
  void StartDraining() { draining_ = true; }
  bool draining() const { return draining_; }

 private:
  struct Pending;

  std::optional<Response> Refuse(const RequestHead& head, const Route& route) const;
  Response Get(const Route& route) const;
  void Infer(Request request, const Route& route, Done done);
  Response Finished(const Pending& pending, const InferResult& result) const;
  void ControlRepository(const Request& request, const Route& route, Done done);
  Response ControlMemory(const Request& request, const Route& route);

  const serving::Context context_;
  std::atomic<bool> draining_ = false;
};

// {"error": message}, for failures below the endpoints too (a body that is too large, a header that is no HTTP).
Response ErrorResponse(int status, std::string_view message);
// The same for what an endpoint could not do.
Response Failure(const Status& status);

}  // namespace recpile::http
