#include "front_door.h"

namespace recpile {

Status FrontDoor::Bind(const CommandLine& options) {
  if (options.http) {
    RECPILE_ASSIGN_OR_RETURN(http_, http::Server::Bind(*options.http));
  }
  if (options.metrics) {
    RECPILE_ASSIGN_OR_RETURN(metrics_, metrics::Server::Bind(*options.metrics));
  }
#ifdef RECPILE_GRPC
  if (options.grpc) {
    RECPILE_ASSIGN_OR_RETURN(grpc_, rpc::Server::Bind(*options.grpc));
  }
#endif
  return Status();
}

Status FrontDoor::Serve(const serving::Context& context) {
  if (metrics_) metrics_->Serve(context);
  if (http_) RECPILE_RETURN_IF_ERROR(http_->Serve(context));
#ifdef RECPILE_GRPC
  if (grpc_) RECPILE_RETURN_IF_ERROR(grpc_->Serve(context));
#endif
  return Status();
}

bool FrontDoor::Drain(std::chrono::milliseconds grace) {
  const auto deadline = serving::Clock::now() + grace;
  const auto left = [deadline] {
    return std::chrono::duration_cast<std::chrono::milliseconds>(deadline - serving::Clock::now());
  };
  bool drained = true;
#ifdef RECPILE_GRPC
  if (grpc_) grpc_->BeginDrain(grace);
#endif
  if (http_) {
    http_->BeginDrain();
    drained = http_->AwaitDrained(left()) && drained;
  }
#ifdef RECPILE_GRPC
  if (grpc_) drained = grpc_->AwaitDrained() && drained;
#endif
  return drained;
}

std::string FrontDoor::Addresses() const {
  std::string addresses;
  if (http_) addresses += " http=" + http_->url();
#ifdef RECPILE_GRPC
  if (grpc_) addresses += " grpc=" + grpc_->address();
#endif
  if (metrics_) addresses += " metrics=" + metrics_->address();
  return addresses;
}

}  // namespace recpile
