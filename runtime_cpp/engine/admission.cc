#include "engine/admission.h"

#include <algorithm>
#include <chrono>
#include <string>

namespace recpile {
namespace {

std::string Microseconds(Clock::duration duration) {
  return std::to_string(std::chrono::duration_cast<std::chrono::microseconds>(duration).count()) + " us";
}

Clock::duration Wait(const Workload& found) {
  return found.cost.OfAll(found.rows_ahead, found.max_batch_size) / found.instances;
}

}  // namespace

Status CheckInTime(int64_t rows, size_t pieces, const Urgency& urgency, const Workload& found) {
  if (urgency.deadline == kNever) return {};
  const auto side_by_side = std::min<int64_t>(found.instances, static_cast<int64_t>(pieces));
  const Clock::duration usual = Wait(found) + found.cost.OfAll(rows, found.max_batch_size) / side_by_side;
  const Clock::duration takes = usual + usual / 4;
  if (urgency.since + takes <= urgency.deadline) return {};
  return Status::Unavailable("the answer may take " + Microseconds(takes) + ", longer than its timeout of " +
                             Microseconds(urgency.deadline - urgency.since) + "; send less, or allow more time");
}

int64_t RowsInTime(int64_t rows, const Urgency& urgency, const Workload& found) {
  if (urgency.deadline == kNever) return rows;
  // The reserve of CheckInTime and a little more, so that it takes what this says.
  const Clock::duration time = (urgency.deadline - urgency.since) * 3 / 4 - Wait(found);
  const Clock::duration full = found.cost.Of(found.max_batch_size);
  if (full > time || rows <= found.max_batch_size) {
    return found.cost.RowsWithin(time, std::min(rows, found.max_batch_size));
  }
  const int64_t rounds = full > Clock::duration::zero() ? time / full : rows;
  return std::min(rows, rounds * found.instances * found.max_batch_size);
}

}  // namespace recpile
