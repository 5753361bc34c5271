#include <utility>

#include "asio_sender.h"
#include "recpile/engine.h"
#include "rpc/infer_codec.h"
#include "senders.h"

namespace recpile::benchmark {
namespace {

// It has no sockets, but waits as those do that have, so that what it takes of the machine is the same.
class EngineSender final : public AsioSender {
 public:
  EngineSender(std::unique_ptr<Engine> engine, InferRequest request, bool never_sleep)
      : AsioSender(never_sleep), engine_(std::move(engine)), request_(std::move(request)) {}

  void Send(std::function<void(bool ok)> done) override {
    const Status submitted =
        engine_->Submit(request_, [done](const InferResult& result) { done(result.ok()); });  // views: no bytes copied
    if (!submitted.ok()) done(false);
  }

 private:
  const std::unique_ptr<Engine> engine_;
  const InferRequest request_;
};

}  // namespace

Result<std::unique_ptr<Sender>> MakeEngineSender(const std::string& artifact, const EngineOptions& options,
                                                 const std::string& request, bool never_sleep) {
  const auto message = std::make_shared<inference::ModelInferRequest>();
  if (!message->ParseFromString(request)) return Status::InvalidArgument("the request is no ModelInferRequest");
  RECPILE_ASSIGN_OR_RETURN(std::unique_ptr<Engine> engine, Engine::Load(artifact, options));
  RECPILE_ASSIGN_OR_RETURN(rpc::DecodedCall decoded, rpc::DecodeCall(message, engine->model()));
  std::unique_ptr<Sender> sender =
      std::make_unique<EngineSender>(std::move(engine), std::move(decoded.request), never_sleep);
  return sender;
}

}  // namespace recpile::benchmark
