#include "serving/context.h"

#include <algorithm>

namespace recpile::serving {

std::vector<RepositoryEntry> Index(const Context& context) {
  if (context.repository != nullptr) return context.repository->Index();
  std::vector<RepositoryEntry> index;
  for (const ModelPtr& model : context.models->List()) {
    index.push_back({model->info.name, model->info.version, "READY", ""});
  }
  return index;
}

RunTimes RunTimesOf(const std::shared_ptr<const RequestTrace>& trace) {
  RunTimes times;
  if (trace == nullptr) return times;
  times.submitted = trace->submitted;
  for (const PieceTrace& piece : trace->pieces) {
    const auto& batch = piece.batch;
    if (batch == nullptr || batch->id == 0) continue;
    if (times.batch == nullptr || batch->start < times.start) {
      times.start = batch->start;
      times.batch = batch;
    }
    times.end = std::max(times.end, batch->end);
  }
  return times;
}

Status NoRepository() {
  return Status::Unavailable(
      "this server serves one artifact; to load and unload models start it with --model-repository DIR "
      "--model-control explicit");
}

}  // namespace recpile::serving
