// The endpoints by which clients load models and register shared memory.
#include <string_view>
#include <utility>

#include "http/service.h"
#include "kserve/control_json.h"
#include "kserve/shared_tensor.h"

namespace recpile::http {

void Service::ControlRepository(const Request& request, const Route& route, Done done) {
  const std::string_view body(reinterpret_cast<const char*>(request.body.data()), request.body.size());
  if (route.endpoint == Endpoint::kRepositoryIndex) {
    const Result<bool> ready = kserve::ParseIndexRequest(body);
    if (!ready.ok()) return done([status = ready.status()] { return Failure(status); });
    return done([this, ready = ready.value()]() -> Response {
      return {.body = kserve::RepositoryIndexJson(serving::Index(context_), ready)};
    });
  }
  const bool load = route.endpoint == Endpoint::kRepositoryLoad;
  Status refused = kserve::CheckControlRequest(body);
  if (refused.ok() && context_.repository == nullptr) refused = serving::NoRepository();
  if (!refused.ok()) return done([refused] { return Failure(refused); });
  const auto answer = [done = std::move(done)](Status status) {
    done([status] { return status.ok() ? Response{} : Failure(status); });
  };
  if (load) {
    context_.repository->LoadForClient(route.model, answer);
  } else {
    context_.repository->UnloadForClient(route.model, answer);
  }
}

Response Service::ControlMemory(const Request& request, const Route& route) {
  if (context_.memory == nullptr) return Failure(kserve::SharedMemoryIsOff());
  switch (route.endpoint) {
    case Endpoint::kMemoryStatus: {
      const auto regions = context_.memory->List(route.region);
      return regions.ok() ? Response{.body = kserve::MemoryStatusJson(regions.value())} : Failure(regions.status());
    }
    case Endpoint::kMemoryRegister: {
      const std::string_view body(reinterpret_cast<const char*>(request.body.data()), request.body.size());
      Result<serving::MemoryRegion> region = kserve::ParseRegisterRequest(body, route.region);
      if (!region.ok()) return Failure(region.status());
      const Status registered = context_.memory->Register(std::move(region).value());
      return registered.ok() ? Response{} : Failure(registered);
    }
    default:
      context_.memory->Unregister(route.region);
      return {};
  }
}

}  // namespace recpile::http
