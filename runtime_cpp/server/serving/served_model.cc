#include "serving/served_model.h"

#include <utility>

namespace recpile::serving {

void Submit(const ModelPtr& model, InferRequest request, Clock::time_point started, InferCallback done) {
  // Shared, because a refused callback is dropped without having been called.
  const auto answer = std::make_shared<InferCallback>(std::move(done));
  const Status submitted = model->submit(std::move(request), [model, started, answer](InferResult result) {
    model->meter->Answered(result.status().code(), Clock::now() - started);
    (*answer)(std::move(result));
  });
  if (submitted.ok()) return;
  model->meter->Answered(submitted.code(), Clock::now() - started);
  (*answer)(submitted);
}

}  // namespace recpile::serving
