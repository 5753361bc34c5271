#include "http/router.h"

#include <charconv>
#include <optional>
#include <vector>

namespace recpile::http {
namespace {

// More than any endpoint has; the rest of a longer path is not looked at.
constexpr size_t kMaxSegments = 7;

std::optional<std::string> Unescape(std::string_view segment) {
  std::string text;
  while (!segment.empty()) {
    if (segment.front() != '%') {
      text.push_back(segment.front());
      segment.remove_prefix(1);
      continue;
    }
    if (segment.size() < 3) return std::nullopt;
    unsigned value = 0;
    const auto [end, error] = std::from_chars(segment.data() + 1, segment.data() + 3, value, 16);
    if (error != std::errc() || end != segment.data() + 3) return std::nullopt;
    text.push_back(static_cast<char>(value));
    segment.remove_prefix(3);
  }
  return text;
}

// "/v2/models/a%20b" -> {"v2", "models", "a b"}. Split before unescaping: an escaped slash belongs to a name.
std::optional<std::vector<std::string>> Split(std::string_view path) {
  if (path.empty() || path.front() != '/') return std::nullopt;
  if (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  std::vector<std::string> segments;
  while (!path.empty()) {
    path.remove_prefix(1);
    const size_t end = path.find('/');
    const std::optional<std::string> segment = Unescape(path.substr(0, end));
    if (!segment || segment->empty() || segments.size() == kMaxSegments) return std::nullopt;
    segments.push_back(*segment);
    path = end == path.npos ? std::string_view() : path.substr(end);
  }
  return segments;
}

Endpoint ModelEndpoint(const std::string& action) {
  if (action == "ready") return Endpoint::kModelReady;
  if (action == "config") return Endpoint::kModelConfig;
  if (action == "stats") return Endpoint::kModelStats;
  if (action == "infer") return Endpoint::kModelInfer;
  return Endpoint::kUnknown;
}

// What follows "/v2/repository".
Route RepositoryRoute(const std::vector<std::string>& path) {
  if (path.size() == 3 && path[2] == "index") return {.endpoint = Endpoint::kRepositoryIndex};
  if (path.size() != 5 || path[2] != "models") return {};
  Route route{.model = path[3]};
  if (path[4] == "load") route.endpoint = Endpoint::kRepositoryLoad;
  if (path[4] == "unload") route.endpoint = Endpoint::kRepositoryUnload;
  return route;
}

// What follows "/v2/systemsharedmemory".
Route MemoryRoute(const std::vector<std::string>& path) {
  const bool one = path.size() == 5 && path[2] == "region";
  if (!one && path.size() != 3) return {};
  Route route{.region = one ? path[3] : ""};
  const std::string& action = path.back();
  if (action == "status") route.endpoint = Endpoint::kMemoryStatus;
  if (action == "register" && one) route.endpoint = Endpoint::kMemoryRegister;
  if (action == "unregister") route.endpoint = Endpoint::kMemoryUnregister;
  return route;
}

bool TakesPost(Endpoint endpoint) {
  switch (endpoint) {
    case Endpoint::kModelInfer:
    case Endpoint::kRepositoryIndex:
    case Endpoint::kRepositoryLoad:
    case Endpoint::kRepositoryUnload:
    case Endpoint::kMemoryRegister:
    case Endpoint::kMemoryUnregister:
      return true;
    default:
      return false;
  }
}

}  // namespace

Route ParseTarget(std::string_view target) {
  const auto split = Split(target.substr(0, target.find('?')));
  if (!split || split->empty() || split->front() != "v2") return {};
  const std::vector<std::string>& path = *split;
  const size_t count = path.size();
  if (count == 1) return {.endpoint = Endpoint::kServerMetadata};
  if (path[1] == "health" && count == 3) {
    if (path[2] == "live") return {.endpoint = Endpoint::kServerLive};
    if (path[2] == "ready") return {.endpoint = Endpoint::kServerReady};
    return {};
  }
  if (path[1] == "repository") return RepositoryRoute(path);
  if (path[1] == "systemsharedmemory") return MemoryRoute(path);
  if (path[1] != "models" || count < 3) return {};
  if (path[2] == "stats" && count == 3) return {.endpoint = Endpoint::kAllStats};

  Route route{.model = path[2]};
  size_t next = 3;
  if (count >= 5 && path[3] == "versions") {
    route.version = path[4];
    next = 5;
  }
  if (count == next) route.endpoint = Endpoint::kModelMetadata;
  if (count == next + 1) route.endpoint = ModelEndpoint(path[next]);
  return route;
}

std::string_view AllowedMethods(Endpoint endpoint) { return TakesPost(endpoint) ? "POST" : "GET, HEAD"; }

bool MethodAllowed(Endpoint endpoint, std::string_view method) {
  if (TakesPost(endpoint)) return method == "POST";
  return method == "GET" || method == "HEAD";
}

}  // namespace recpile::http
