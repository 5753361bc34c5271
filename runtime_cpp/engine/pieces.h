// What waits for a request: itself, or its pieces.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "artifact/manifest.h"
#include "engine/request_queue.h"
#include "engine/urgency.h"
#include "recpile/engine.h"

namespace recpile {

// What a request asks for beside its inputs, as InferRequest has it.
struct Wishes {
  Urgency urgency;
  bool partial_ok = false;
  std::shared_ptr<const std::atomic<bool>> canceled;
  std::shared_ptr<RequestTrace> trace;
};

// Several pieces if the request is too large for one batch, or if instances of `queue` idle and answer it sooner so.
// One that allows it is first cut down to the candidates that there is time for. `queue` is only asked.
std::vector<QueuedRequest> PiecesOf(CheckedRequest request, InferCallback done, const Wishes& wishes,
                                    const Manifest& manifest, int64_t max_batch_size, const RequestQueue& queue);

}  // namespace recpile
