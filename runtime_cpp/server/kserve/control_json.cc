#include "kserve/control_json.h"

#include "kserve/json_text.h"
#include "kserve/request_json.h"

namespace recpile::kserve {
namespace {

using nlohmann::json;

constexpr size_t kMaxBody = 64 << 10;

// A small object; its tree is null if there is no body.
Result<RequestJson> ParseObject(std::string_view body) {
  if (body.empty()) return RequestJson();
  if (body.size() > kMaxBody) {
    return Status::InvalidArgument("the body has " + std::to_string(body.size()) + " bytes; use at most " +
                                   std::to_string(kMaxBody));
  }
  RECPILE_ASSIGN_OR_RETURN(RequestJson parsed, ParseRequestJson(body));
  if (parsed.tree.is_object()) return parsed;
  return Status::InvalidArgument("the body must be a JSON object or empty");
}

}  // namespace

Result<bool> ParseIndexRequest(std::string_view body) {
  RECPILE_ASSIGN_OR_RETURN(const RequestJson parsed, ParseObject(body));
  const json& request = parsed.tree;
  const auto ready = request.find("ready");
  if (ready == request.end()) return false;
  if (!ready->is_boolean()) return Status::InvalidArgument("\"ready\" must be true or false");
  return ready->get<bool>();
}

std::string RepositoryIndexJson(const std::vector<serving::RepositoryEntry>& index, bool ready_only) {
  std::vector<JsonText> entries;
  for (const serving::RepositoryEntry& entry : index) {
    if (ready_only && entry.state != "READY") continue;
    entries.push_back(
        {{"name", entry.name}, {"version", entry.version}, {"state", entry.state}, {"reason", entry.reason}});
  }
  return JsonText(entries).text();
}

Status CheckControlRequest(std::string_view body) {
  RECPILE_ASSIGN_OR_RETURN(const RequestJson parsed, ParseObject(body));
  const json& request = parsed.tree;
  const auto parameters = request.find("parameters");
  if (parameters == request.end() || !parameters->is_object()) return Status();
  for (const auto& [key, value] : parameters->items()) {
    RECPILE_RETURN_IF_ERROR(CheckControlParameter(key));
  }
  return Status();
}

Status CheckControlParameter(std::string_view key) {
  if (key != "config" && !key.starts_with("file:")) return Status();
  return Status::Unsupported("parameter '" + Excerpt(key) +
                             "': models are loaded from the server's repository only, with the server's options");
}

Result<serving::MemoryRegion> ParseRegisterRequest(std::string_view body, const std::string& name) {
  RECPILE_ASSIGN_OR_RETURN(const RequestJson parsed, ParseObject(body));
  const json& request = parsed.tree;
  const auto key = request.find("key");
  const auto size = request.find("byte_size");
  const auto offset = request.find("offset");
  const bool valid = key != request.end() && key->is_string() && size != request.end() && size->is_number_unsigned() &&
                     (offset == request.end() || offset->is_number_unsigned());
  if (!valid) {
    return Status::InvalidArgument(
        "the body must have \"key\" (a string), \"byte_size\" and, if wanted, \"offset\" (integers of at least 0)");
  }
  return serving::MemoryRegion{.name = name,
                               .key = key->get<std::string>(),
                               .offset = offset == request.end() ? 0 : offset->get<uint64_t>(),
                               .byte_size = size->get<uint64_t>()};
}

std::string MemoryStatusJson(const std::vector<serving::MemoryRegion>& regions) {
  std::vector<JsonText> list;
  for (const serving::MemoryRegion& region : regions) {
    list.push_back(
        {{"name", region.name}, {"key", region.key}, {"offset", region.offset}, {"byte_size", region.byte_size}});
  }
  return JsonText(list).text();
}

}  // namespace recpile::kserve
