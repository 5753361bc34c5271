// A backend that answers each request at once, on a thread of its own, as an engine does.
#pragma once

#include <memory>
#include <utility>

#include "held_backend.h"
#include "serving/worker.h"

namespace recpile::testing {

class AnsweringBackend {
 public:
  // Serves the toy model.
  serving::Context Make() {
    serving::ServedModel model{.info = ToyModel(),
                               .submit =
                                   [this](InferRequest request, InferCallback done) {
                                     auto held = std::make_shared<InferRequest>(std::move(request));
                                     thread_.Post([held, done = std::move(done)] { done(Score(*held)); });
                                     return Status();
                                   },
                               .stats = [] { return EngineStats{}; }};
    models_.Publish("toy", {std::make_shared<const serving::ServedModel>(std::move(model))});
    return {.models = &models_, .server_version = "9.9"};
  }

  serving::Models* models() { return &models_; }

 private:
  serving::Models models_;
  serving::Worker thread_;
};

}  // namespace recpile::testing
