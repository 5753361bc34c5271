#include "recpile/engine.h"

namespace recpile {
namespace {

Status AtLeast(const char* option, int64_t got, int64_t least) {
  if (got >= least) return {};
  return Status::InvalidArgument(std::string(option) + ": got " + std::to_string(got) + "; use " +
                                 std::to_string(least) + " or more");
}

}  // namespace

Status EngineOptions::Validate() const {
  RECPILE_RETURN_IF_ERROR(AtLeast("instances", instances, 0));
  RECPILE_RETURN_IF_ERROR(AtLeast("max_batch_size", max_batch_size, 1));
  RECPILE_RETURN_IF_ERROR(AtLeast("max_queue_delay_microseconds", max_queue_delay_microseconds, 0));
  RECPILE_RETURN_IF_ERROR(AtLeast("max_queue_size", max_queue_size, 1));
  constexpr int64_t kHour = 3'600'000'000;
  if (max_queue_delay_microseconds > kHour) {
    return Status::InvalidArgument("max_queue_delay_microseconds: got " + std::to_string(max_queue_delay_microseconds) +
                                   "; use " + std::to_string(kHour) + " (an hour) or less");
  }
  if (instances > 1024)
    return Status::InvalidArgument("instances: got " + std::to_string(instances) + "; use 1024 or fewer");
  return {};
}

}  // namespace recpile
