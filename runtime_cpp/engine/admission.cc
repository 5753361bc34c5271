#include "engine/admission.h"

#include <algorithm>
#include <chrono>
#include <string>

namespace recpile {
namespace {

std::string Microseconds(Clock::duration duration) {
  return std::to_string(std::chrono::duration_cast<std::chrono::microseconds>(duration).count()) + " us";
}

bool InOneBatch(int64_t rows, const Workload& found) { return found.waiting + rows <= found.max_batch_size; }

Clock::duration Wait(int64_t rows, const Workload& found) {
  const auto wait = std::chrono::duration<double, std::nano>(ForeseenWait(rows, found)) * found.wait_factor;
  return std::chrono::duration_cast<Clock::duration>(wait);
}

// The run that gives the last of its answers: with company, which may come after it too.
Clock::duration LastRun(int64_t rows, size_t pieces, const Workload& found) {
  if (InOneBatch(rows, found)) return found.cost.Of(found.waiting + rows);
  const auto side_by_side = std::min<int64_t>(found.instances, static_cast<int64_t>(pieces));
  return std::max(found.cost.Of(found.max_batch_size), found.cost.OfAll(rows, found.max_batch_size) / side_by_side);
}

}  // namespace

Clock::duration ForeseenWait(int64_t rows, const Workload& found) {
  const int64_t ahead = found.running + (InOneBatch(rows, found) ? 0 : found.waiting);
  return found.cost.OfAll(ahead, found.max_batch_size) / found.instances;
}

Status CheckInTime(int64_t rows, size_t pieces, const Urgency& urgency, const Workload& found) {
  if (urgency.deadline == kNever) return {};
  const Clock::duration usual = Wait(rows, found) + LastRun(rows, pieces, found);
  const Clock::duration takes = WithReserve(usual);
  if (urgency.since + takes <= urgency.deadline) return {};
  const Clock::duration spent = urgency.timeout - (urgency.deadline - urgency.since);
  return Status::Unavailable("the answer may take " + Microseconds(spent + takes) + ", longer than its timeout of " +
                             Microseconds(urgency.timeout) + "; send less, or allow more time");
}

int64_t RowsInTime(int64_t rows, const Urgency& urgency, const Workload& found) {
  if (urgency.deadline == kNever) return rows;
  // The reserve of CheckInTime and a little more, so that it takes what this says.
  const Clock::duration time = (urgency.deadline - urgency.since) * 3 / 4;
  // As many as fit in one batch with what waits.
  const int64_t most = std::min(found.waiting + rows, found.max_batch_size);
  const int64_t with_company = found.cost.RowsWithin(time - Wait(0, found), most) - found.waiting;
  if (InOneBatch(rows, found)) return std::clamp(with_company, int64_t{0}, rows);
  // Or full runs of its own behind that.
  const Clock::duration full = found.cost.Of(found.max_batch_size);
  const Clock::duration left = time - Wait(rows, found);
  const int64_t rounds = full <= Clock::duration::zero() ? rows : left / full;
  const int64_t alone = rounds > 0 ? rounds * found.instances * found.max_batch_size : 0;
  return std::clamp(std::max(with_company, alone), int64_t{0}, rows);
}

}  // namespace recpile
