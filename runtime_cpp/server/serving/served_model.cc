#include "serving/served_model.h"

#include <utility>

namespace recpile::serving {

Status CheckRoom(const ModelPtr& model, Clock::time_point started) {
  Status room = model->room();
  if (!room.ok()) model->meter->Answered(room.code(), Clock::now() - started);
  return room;
}

void Submit(const ModelPtr& model, InferRequest request, Clock::time_point started, InferCallback done) {
  // Shared, because a refused callback is dropped without having been called.
  const auto answer = std::make_shared<InferCallback>(std::move(done));
  const auto canceled = request.canceled;
  const Status submitted = model->submit(std::move(request), [model, started, answer, canceled](InferResult result) {
    // Also where it was too late to save the work: there is nobody whom an answer could reach.
    const bool gone = canceled != nullptr && *canceled;
    model->meter->Answered(gone ? StatusCode::kCanceled : result.status().code(), Clock::now() - started);
    (*answer)(std::move(result));
  });
  if (submitted.ok()) return;
  model->meter->Answered(submitted.code(), Clock::now() - started);
  (*answer)(submitted);
}

}  // namespace recpile::serving
