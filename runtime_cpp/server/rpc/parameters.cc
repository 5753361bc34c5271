#include "rpc/parameters.h"

#include <algorithm>
#include <limits>

#include "kserve/scheduling.h"

namespace recpile::rpc {
namespace {

using Slice = std::optional<serving::MemorySlice>;

// An integer of at least 0, in either of the forms that clients send.
std::optional<uint64_t> Unsigned(const inference::InferParameter& parameter) {
  if (parameter.has_uint64_param()) return parameter.uint64_param();
  if (parameter.has_int64_param() && parameter.int64_param() >= 0) {
    return static_cast<uint64_t>(parameter.int64_param());
  }
  return std::nullopt;
}

// 0 where it is absent.
Result<uint64_t> UnsignedOrZero(const Parameters& parameters, const char* key) {
  const auto found = parameters.find(key);
  if (found == parameters.end()) return uint64_t{0};
  if (const std::optional<uint64_t> value = Unsigned(found->second)) return *value;
  return Status::InvalidArgument("the request: parameter \"" + std::string(key) +
                                 "\" must be an integer of at least 0");
}

// 0 and "" are how clients say "none".
bool IsOfSequence(const Parameters& parameters) {
  const auto id = parameters.find("sequence_id");
  if (id == parameters.end()) return false;
  return id->second.has_string_param() ? !id->second.string_param().empty() : Unsigned(id->second) != 0;
}

}  // namespace

Result<Slice> SliceOf(const Parameters& parameters, const std::string& label) {
  const auto region = parameters.find("shared_memory_region");
  if (region == parameters.end()) return Slice();
  const auto size = parameters.find("shared_memory_byte_size");
  const auto offset = parameters.find("shared_memory_offset");
  const auto bytes = size == parameters.end() ? std::nullopt : Unsigned(size->second);
  const auto begin = offset == parameters.end() ? std::optional<uint64_t>(0) : Unsigned(offset->second);
  if (!region->second.has_string_param() || !bytes || !begin) {
    return Status::InvalidArgument(label +
                                   ": parameter shared_memory_region must be a string, shared_memory_byte_size and, if "
                                   "given, shared_memory_offset integers of at least 0");
  }
  return Slice({.region = region->second.string_param(), .offset = *begin, .byte_size = *bytes});
}

Status ReadScheduling(const Parameters& parameters, InferRequest* request) {
  if (IsOfSequence(parameters)) return kserve::SequencesAreUnsupported();
  RECPILE_ASSIGN_OR_RETURN(request->priority, UnsignedOrZero(parameters, "priority"));
  RECPILE_ASSIGN_OR_RETURN(const uint64_t timeout, UnsignedOrZero(parameters, "timeout"));
  constexpr uint64_t kMost = std::numeric_limits<int64_t>::max();
  if (const auto partial = parameters.find("partial_ok"); partial != parameters.end()) {
    if (!partial->second.has_bool_param()) {
      return Status::InvalidArgument("the request: parameter \"partial_ok\" must be true or false");
    }
    request->partial_ok = partial->second.bool_param();
  }
  request->timeout_microseconds = static_cast<int64_t>(std::min(timeout, kMost));
  return Status();
}

void LimitTimeout(std::chrono::system_clock::time_point deadline, InferRequest* request) {
  using std::chrono::microseconds;
  // gRPC's "never" lies beyond what could be subtracted from.
  const auto now = std::chrono::system_clock::now();
  if (deadline - std::chrono::hours(24) > now) return;
  const int64_t left = std::max<int64_t>(std::chrono::duration_cast<microseconds>(deadline - now).count(), 1);
  int64_t& timeout = request->timeout_microseconds;
  timeout = timeout == 0 ? left : std::min(timeout, left);
}

}  // namespace recpile::rpc
