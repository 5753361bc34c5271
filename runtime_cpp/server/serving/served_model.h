// One loaded version of a model, as the protocols see it.
#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include "recpile/engine.h"
#include "serving/request_meter.h"

namespace recpile::serving {

// Functions rather than an Engine, so that the wire links none and tests can stand in for it.
struct ServedModel {
  ModelInfo info;                                             // under the name and version that clients ask for
  std::function<Status(InferRequest, InferCallback)> submit;  // as Engine::Submit
  std::function<EngineStats()> stats;
  std::function<Status()> room = [] { return Status(); };                            // as Engine::CheckRoom
  std::function<Status(const InferRequest&)> time = [](auto&) { return Status(); };  // as Engine::CheckTime
  std::function<size_t()> queued = [] { return size_t{0}; };                         // as Engine::queued
  std::function<void()> hold_nothing_back = [] {};                                   // as Engine::HoldNothingBack
  int instances = 1;
  std::chrono::system_clock::time_point loaded_at = std::chrono::system_clock::now();
  std::shared_ptr<RequestMeter> meter = std::make_shared<RequestMeter>();
};

// A lease: as long as anybody holds one the engine behind it runs, so what was found can be used to the end, whatever
// has been unloaded since. The last one may be dropped on any thread, an engine's own included.
using ModelPtr = std::shared_ptr<const ServedModel>;

using Clock = std::chrono::steady_clock;

// Unavailable, and counted: a request need not be decoded to be refused.
Status CheckRoom(const ModelPtr& model, Clock::time_point started);
// Likewise: it need not be read. `request` has no inputs yet.
Status CheckTime(const ModelPtr& model, const InferRequest& request, Clock::time_point started);

// Hands a request to the model, keeps count of how it went, and calls `done` exactly once: before it returns if the
// request is refused, else later, on a thread of the engine (see Engine::Submit). `started`: when the request
// came.
void Submit(const ModelPtr& model, InferRequest request, Clock::time_point started, InferCallback done);

}  // namespace recpile::serving
