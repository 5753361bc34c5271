#include "engine/instance.h"

#include <optional>

#include "engine/caught.h"

namespace recpile {
namespace {

uint64_t Nanoseconds(Clock::duration duration) {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(duration).count());
}

}  // namespace

void Finish(QueuedRequest& request, InferResult answer, Counters& counters) {
  if (request.whole != nullptr) {
    std::optional<InferResult> whole = request.whole->Add(request.piece, std::move(answer));
    if (!whole) return;
    answer = *std::move(whole);
  }
  ++(answer.ok() ? counters.requests_ok : counters.requests_failed);
  // Once accepted, nothing but its timeout makes a request unavailable.
  if (answer.status().code() == StatusCode::kUnavailable) ++counters.requests_expired;
  request.done(std::move(answer));
}

void Instance::Serve(RequestQueue& queue) {
  while (true) {
    std::vector<QueuedRequest> batch = queue.PopBatch();
    if (batch.empty()) return;
    const Clock::time_point start = Clock::now();
    int64_t rows = 0;
    for (const QueuedRequest& request : batch) {
      counters_.queue_ns += Nanoseconds(start - request.since);
      rows += request.rows;
    }
    Answer(batch);
    queue.Measured(rows, Clock::now() - start);
  }
}

Result<std::vector<Tensor>> Instance::Execute(std::span<const CheckedRequest* const> requests, bool made_up) {
  return Caught("coalescing", [&]() -> Result<std::vector<Tensor>> {
    Batch batch = Coalesce(manifest_, requests, buffers_, sizes_);
    batch.made_up = made_up;
    return executor_.Run(*frame_, batch);
  });
}

void Instance::Answer(std::vector<QueuedRequest>& batch) {
  std::vector<const CheckedRequest*> requests;
  for (const QueuedRequest& request : batch) requests.push_back(&request.checked);
  const Clock::time_point start = Clock::now();
  const Result<std::vector<Tensor>> outputs = Execute(requests);
  counters_.compute_ns += Nanoseconds(Clock::now() - start);
  ++counters_.batches;
  if (!outputs.ok() && batch.size() > 1) {
    // One request may be to blame: alone, each gets the answer that it would have got without company.
    for (QueuedRequest& request : batch) {
      std::vector<QueuedRequest> alone;
      alone.push_back(std::move(request));
      Answer(alone);
    }
    return;
  }
  Rows rows;
  for (QueuedRequest& request : batch) {
    rows.count = request.rows;
    if (outputs.ok()) counters_.samples += static_cast<uint64_t>(rows.count);
    Finish(request, outputs.ok() ? InferResult(Split(manifest_, outputs.value(), rows)) : InferResult(outputs.status()),
           counters_);
    rows.first += rows.count;
    ++rows.request;
  }
}

}  // namespace recpile
