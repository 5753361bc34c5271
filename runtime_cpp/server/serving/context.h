// What the protocols share.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "recpile/status.h"
#include "serving/models.h"
#include "serving/repository.h"
#include "serving/shared_memory.h"

namespace recpile::serving {

// One infer request, when its answer is known.
struct RequestRecord {
  std::string_view protocol;  // "http" or "grpc"
  std::string_view model;
  std::string_view version;
  std::string_view id;           // what the client called it; may be empty
  std::string_view traceparent;  // of the client's trace, W3C form; may be empty
  Status status;
  std::chrono::nanoseconds elapsed{};
};

struct Context {
  const Models* models = nullptr;
  Repository* repository = nullptr;  // null: one artifact, named on the command line
  SharedMemory* memory = nullptr;    // null: off
  std::string server_version;
  // Called for each infer request, on a protocol's thread; must be thread-safe and not block. Empty: nobody listens.
  std::function<void(const RequestRecord&)> log;
};

// What the repository holds; without one, what is served.
std::vector<RepositoryEntry> Index(const Context& context);

// The refusal to load or unload where there is no repository.
Status NoRepository();

}  // namespace recpile::serving
