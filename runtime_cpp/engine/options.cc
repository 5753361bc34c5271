#include "recpile/engine.h"

namespace recpile {
namespace {

Status AtLeast(const char* option, int64_t got, int64_t least) {
  if (got >= least) return {};
  return Status::InvalidArgument(std::string(option) + ": got " + std::to_string(got) + "; use " +
                                 std::to_string(least) + " or more");
}

Status AtMost(const char* option, int64_t got, int64_t most, const char* in_words = "") {
  if (got <= most) return {};
  return Status::InvalidArgument(std::string(option) + ": got " + std::to_string(got) + "; use " +
                                 std::to_string(most) + in_words + " or less");
}

}  // namespace

Status EngineOptions::Validate() const {
  RECPILE_RETURN_IF_ERROR(AtLeast("instances", instances, 0));
  RECPILE_RETURN_IF_ERROR(AtLeast("max_batch_size", max_batch_size, 1));
  RECPILE_RETURN_IF_ERROR(AtLeast("max_queue_delay_microseconds", max_queue_delay_microseconds, 0));
  RECPILE_RETURN_IF_ERROR(AtLeast("max_queue_size", max_queue_size, 1));
  constexpr int64_t kHour = 3'600'000'000;
  RECPILE_RETURN_IF_ERROR(AtMost("max_queue_delay_microseconds", max_queue_delay_microseconds, kHour, " (an hour)"));
  RECPILE_RETURN_IF_ERROR(AtLeast("default_timeout_microseconds", default_timeout_microseconds, 0));
  RECPILE_RETURN_IF_ERROR(AtMost("default_timeout_microseconds", default_timeout_microseconds, kHour, " (an hour)"));
  RECPILE_RETURN_IF_ERROR(AtLeast("priority_levels", priority_levels, 1));
  RECPILE_RETURN_IF_ERROR(AtMost("priority_levels", priority_levels, 100));
  RECPILE_RETURN_IF_ERROR(AtLeast("default_priority_level", default_priority_level, 0));
  RECPILE_RETURN_IF_ERROR(AtMost("default_priority_level", default_priority_level, priority_levels));
  for (const int64_t size : preferred_batch_sizes) {
    RECPILE_RETURN_IF_ERROR(AtLeast("preferred_batch_sizes", size, 1));
    RECPILE_RETURN_IF_ERROR(AtMost("preferred_batch_sizes", size, max_batch_size, " (max_batch_size)"));
  }
  RECPILE_RETURN_IF_ERROR(AtLeast("load_nice", load_nice, 0));
  RECPILE_RETURN_IF_ERROR(AtMost("load_nice", load_nice, 19));
  if (instances > 1024)
    return Status::InvalidArgument("instances: got " + std::to_string(instances) + "; use 1024 or fewer");
  return {};
}

}  // namespace recpile
