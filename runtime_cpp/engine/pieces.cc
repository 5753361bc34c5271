#include "engine/pieces.h"

#include <utility>

#include "coalesce/cut.h"

namespace recpile {
namespace {

// Returns how many candidates are left out.
int64_t LeaveOut(CheckedRequest& request, const Urgency& urgency, const Manifest& manifest, const RequestQueue& queue) {
  const int64_t rows = request.rows, fits = queue.RowsInTime(rows, urgency);
  // If nothing fits, the whole is what the refusal speaks of.
  if (fits == 0 || fits >= rows) return 0;
  request = Leading(manifest, request, fits);
  return rows - fits;
}

}  // namespace

std::vector<QueuedRequest> PiecesOf(CheckedRequest request, InferCallback done, const Wishes& wishes,
                                    const Manifest& manifest, int64_t max_batch_size, const RequestQueue& queue) {
  const int64_t left_out = wishes.partial_ok ? LeaveOut(request, wishes.urgency, manifest, queue) : 0;
  int64_t most = max_batch_size;
  if (request.rows > 1 && request.rows <= most) {
    const int64_t count = queue.WorthCutting(request.rows);
    most = (request.rows + count - 1) / count;
  }
  const bool one = request.rows <= most;
  std::vector<QueuedRequest> pieces;
  const auto add = [&](CheckedRequest&& checked, InferCallback answer, const std::shared_ptr<Assembly>& whole) {
    const int64_t rows = checked.rows;
    pieces.push_back({.checked = std::move(checked),
                      .done = std::move(answer),
                      .rows = rows,
                      .since = wishes.urgency.since,
                      .deadline = wishes.urgency.deadline,
                      .timeout = wishes.urgency.timeout,
                      .level = wishes.urgency.level,
                      .canceled = wishes.canceled,
                      .partial_ok = wishes.partial_ok && one,
                      .left_out = left_out,
                      .whole = whole,
                      .piece = pieces.size(),
                      .trace = wishes.trace});
  };
  if (one) {
    add(std::move(request), std::move(done), nullptr);
    return pieces;
  }
  std::vector<CheckedRequest> cut = Cut(manifest, request, most);
  std::vector<int64_t> partial_rows;
  if (wishes.partial_ok) {
    for (const CheckedRequest& piece : cut) partial_rows.push_back(piece.rows);
  }
  const auto whole = std::make_shared<Assembly>(manifest, cut.size(), std::move(partial_rows));
  for (CheckedRequest& piece : cut) add(std::move(piece), done, whole);
  return pieces;
}

}  // namespace recpile
