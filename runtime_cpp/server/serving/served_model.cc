#include "serving/served_model.h"

#include <new>
#include <utility>

namespace recpile::serving {

namespace {

Status Counted(const ModelPtr& model, Status status, Clock::time_point started) {
  if (!status.ok()) model->meter->Answered(status.code(), Clock::now() - started);
  return status;
}

}  // namespace

Status CheckRoom(const ModelPtr& model, Clock::time_point started) { return Counted(model, model->room(), started); }

Status CheckTime(const ModelPtr& model, const InferRequest& request, Clock::time_point started) {
  return Counted(model, model->time(request), started);
}

void Submit(const ModelPtr& model, InferRequest request, Clock::time_point started, InferCallback done) {
  Status submitted;
  // Shared, because a refused callback is dropped without having been called.
  std::shared_ptr<InferCallback> answer;
  try {
    answer = std::make_shared<InferCallback>(std::move(done));
    const auto canceled = request.canceled;
    submitted = model->submit(std::move(request), [model, started, answer, canceled](InferResult result) {
      // Also where it was too late to save the work: there is nobody whom an answer could reach.
      const bool gone = canceled != nullptr && *canceled;
      model->meter->Answered(gone ? StatusCode::kCanceled : result.status().code(), Clock::now() - started);
      (*answer)(std::move(result));
    });
  } catch (const std::bad_alloc&) {
    submitted = Status::Unavailable("out of memory");  // so short a text needs none
  }
  if (submitted.ok()) return;
  model->meter->Answered(submitted.code(), Clock::now() - started);
  (answer == nullptr ? done : *answer)(std::move(submitted));
}

}  // namespace recpile::serving
