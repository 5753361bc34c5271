#include "kserve/scheduling.h"

#include <algorithm>
#include <limits>
#include <string>

namespace recpile::kserve {
namespace {

using nlohmann::json;

Result<uint64_t> Unsigned(const json& parameters, const char* key) {
  const auto found = parameters.find(key);
  if (found == parameters.end() || found->is_null()) return uint64_t{0};
  // The parser stores every non-negative integer as unsigned.
  if (!found->is_number_unsigned()) {
    return Status::InvalidArgument(std::string("the request: parameter \"") + key +
                                   "\" must be an integer of at least 0");
  }
  return found->get<uint64_t>();
}

// 0 and "" are how clients say "none".
bool IsOfSequence(const json& parameters) {
  const auto id = parameters.find("sequence_id");
  return id != parameters.end() && !id->is_null() && *id != 0 && *id != "";
}

}  // namespace

Status SequencesAreUnsupported() {
  return Status::Unsupported(
      "the request: sequences are not supported, for a model keeps nothing from one request to the next; leave "
      "parameter \"sequence_id\" out");
}

Status ReadScheduling(const json& parameters, InferRequest* request) {
  if (IsOfSequence(parameters)) return SequencesAreUnsupported();
  RECPILE_ASSIGN_OR_RETURN(request->priority, Unsigned(parameters, "priority"));
  RECPILE_ASSIGN_OR_RETURN(const uint64_t timeout, Unsigned(parameters, "timeout"));
  constexpr uint64_t kMost = std::numeric_limits<int64_t>::max();
  const auto partial = parameters.find("partial_ok");
  if (partial != parameters.end() && !partial->is_null()) {
    if (!partial->is_boolean()) {
      return Status::InvalidArgument("the request: parameter \"partial_ok\" must be true or false");
    }
    request->partial_ok = partial->get<bool>();
  }
  request->timeout_microseconds = static_cast<int64_t>(std::min(timeout, kMost));
  return {};
}

}  // namespace recpile::kserve
