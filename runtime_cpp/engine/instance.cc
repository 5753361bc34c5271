#include "engine/instance.h"

#include <algorithm>
#include <optional>

#include "base/this_thread.h"
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
  if (answer.ok()) {
    answer.left_out += request.left_out;
    if (answer.left_out > 0) ++counters.requests_partial;
  }
  const StatusCode code = answer.status().code();
  if (code == StatusCode::kUnavailable) ++counters.requests_expired;
  if (code == StatusCode::kCanceled) ++counters.requests_canceled;
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
      counters_.queue.Add(start - request.since);
      rows += request.rows;
    }
    Answer(batch);
    queue.Measured(rows, Clock::now() - start);
  }
}

Status Instance::WarmUp(std::span<const CheckedRequest* const> requests) {
  return Caught("warming up", [&]() -> Status {
    Batch batch = Coalesce(manifest_, requests, buffers_, sizes_);
    batch.made_up = true;
    return executor_.Run(*frame_, batch).status();
  });
}

Result<std::vector<Tensor>> Instance::Execute(std::span<const CheckedRequest* const> requests, BatchTrace* trace) {
  return Caught("coalescing", [&]() -> Result<std::vector<Tensor>> {
    int64_t rows = 0;
    for (const CheckedRequest* request : requests) rows += request->rows;
    const Clock::time_point start = Clock::now();
    const Batch batch = Coalesce(manifest_, requests, buffers_, sizes_);
    const Clock::time_point joined = Clock::now();
    Result<std::vector<Tensor>> outputs = executor_.Run(*frame_, batch);
    const Clock::time_point end = Clock::now();
    const uint64_t id = ++counters_.batches;
    counters_.batch_size.Add(rows);
    counters_.padded_rows += static_cast<uint64_t>(batch.candidates - rows);
    counters_.coalesce.Add(joined - start);
    counters_.infer.Add(end - joined);
    counters_.compute_ns += Nanoseconds(end - start);
    const auto stages = Executor::Stages(*frame_);
    for (size_t i = 0; i < stages.size(); ++i) {
      if (stages[i].end > stages[i].start) counters_.stages[i].Add(stages[i].end - stages[i].start);
    }
    if (trace != nullptr) {
      *trace = {.id = id,
                .candidates = rows,
                .requests = static_cast<int64_t>(requests.size()),
                .rows = batch.candidates,
                .instance = number_,
                .thread = ThisThread(),
                .start = start,
                .joined = joined,
                .stages = {stages.begin(), stages.end()},
                .end = end};
    }
    // The requests of a batch that failed run again, each alone: nothing counts twice.
    if (outputs.ok() || requests.size() == 1) CountLookups();
    return outputs;
  });
}

void Instance::CountLookups() {
  const auto tables = Executor::Lookups(*frame_);
  for (size_t i = 0; i < tables.size(); ++i) {
    if (tables[i].lookups > 0) counters_.tables[i].lookups += tables[i].lookups;
    if (tables[i].out_of_range > 0) counters_.tables[i].out_of_range += tables[i].out_of_range;
  }
}

void Instance::Answer(std::vector<QueuedRequest>& batch) {
  std::vector<const CheckedRequest*> requests;
  for (QueuedRequest& request : batch) {
    if (request.rows < request.checked.rows) request.checked = Leading(manifest_, request.checked, request.rows);
    requests.push_back(&request.checked);
  }
  const std::shared_ptr<BatchTrace> trace = NewTrace(batch);
  const Result<std::vector<Tensor>> outputs = Execute(requests, trace.get());
  if (!outputs.ok() && batch.size() > 1) {
    // One request may be to blame: alone, each gets the answer that it would have got without company.
    for (QueuedRequest& request : batch) {
      std::vector<QueuedRequest> alone;
      alone.push_back(std::move(request));
      Answer(alone);
    }
    Observe(trace.get());
    return;
  }
  Rows rows;
  Clock::duration split{};
  for (QueuedRequest& request : batch) {
    rows.count = request.rows;
    InferResult answer = std::vector<Tensor>();
    Clock::time_point start, end;
    if (!outputs.ok()) {
      answer = outputs.status();
    } else {
      start = Clock::now();
      answer = Split(manifest_, outputs.value(), rows);
      end = Clock::now();
      split += end - start;
      counters_.samples += static_cast<uint64_t>(rows.count);
    }
    if (request.trace != nullptr) request.trace->pieces[request.piece] = {trace, rows.count, start, end};
    Finish(request, std::move(answer), counters_);
    rows.first += rows.count;
    ++rows.request;
  }
  if (outputs.ok()) counters_.split.Add(split);
  Observe(trace.get());
}

void Instance::Observe(const BatchTrace* trace) const {
  // Without an id it did not even come to run.
  if (observer_ && trace->id != 0) observer_(*trace, Clock::now());
}

std::shared_ptr<BatchTrace> Instance::NewTrace(const std::vector<QueuedRequest>& batch) const {
  const bool wanted = observer_ || std::any_of(batch.begin(), batch.end(),
                                               [](const QueuedRequest& request) { return request.trace != nullptr; });
  return wanted ? std::make_shared<BatchTrace>() : nullptr;
}

}  // namespace recpile
