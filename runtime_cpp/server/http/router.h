// From a request's target to an endpoint.
#pragma once

#include <string>
#include <string_view>

namespace recpile::http {

enum class Endpoint {
  kUnknown,
  kServerMetadata,    // /v2
  kServerLive,        // /v2/health/live
  kServerReady,       // /v2/health/ready
  kAllStats,          // /v2/models/stats
  kModelMetadata,     // /v2/models/{m}[/versions/{v}], and below it the next four
  kModelReady,        // .../ready
  kModelConfig,       // .../config
  kModelStats,        // .../stats
  kModelInfer,        // .../infer
  kRepositoryIndex,   // /v2/repository/index
  kRepositoryLoad,    // /v2/repository/models/{m}/load
  kRepositoryUnload,  // .../unload
  kMemoryStatus,      // /v2/systemsharedmemory[/region/{r}]/status, and below it the next two
  kMemoryRegister,    // .../register, of one region only
  kMemoryUnregister,  // .../unregister
};

struct Route {
  Endpoint endpoint = Endpoint::kUnknown;
  std::string model;
  std::string version;  // empty: none was asked for
  std::string region;   // of shared memory; empty: all of them
};

// Percent-escapes are decoded; a query and one trailing slash are ignored. Anything odd is kUnknown.
Route ParseTarget(std::string_view target);

// The value of the header Allow: "POST", or "GET, HEAD".
std::string_view AllowedMethods(Endpoint endpoint);
bool MethodAllowed(Endpoint endpoint, std::string_view method);

}  // namespace recpile::http
