// A backend whose requests wait until the test answers them.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "serving/context.h"
#include "support.h"

namespace recpile::testing {

// `score` is the sum of each row of `dense`, `half` has no rows.
inline std::vector<Tensor> Score(const InferRequest& request) {
  const Tensor& dense = request.inputs.at(0);
  const auto scores = std::make_shared<std::vector<float>>(static_cast<size_t>(dense.shape.at(0)));
  const auto values = dense.as<float>();
  for (size_t i = 0; i < values.size(); ++i) (*scores)[i / 4] += values[i];
  Tensor score{.name = "score", .dtype = DType::kFp32, .shape = {dense.shape[0]}};
  score.data = std::as_bytes(std::span<const float>(*scores));
  score.owner = scores;
  return {score, Tensor{.name = "half", .dtype = DType::kBf16, .shape = {0, 2}}};
}

// Waits for what happens on another thread; false: it has not in a minute.
inline bool Eventually(const std::function<bool()>& happened) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (!happened()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

class HeldBackend {
 public:
  // Serves the toy model. With `refusal`, Submit fails with it; with `no_time`, requests that have a timeout are
  // refused with it, as far as they have been read.
  serving::Context Make(std::optional<Status> refusal = std::nullopt, std::optional<Status> no_time = std::nullopt) {
    serving::ServedModel model{.info = ToyModel(),
                               .submit =
                                   [this, refusal](InferRequest request, InferCallback done) {
                                     if (refusal) return *refusal;
                                     const std::lock_guard lock(mutex_);
                                     held_.emplace_back(std::move(request), std::move(done));
                                     arrived_.notify_all();
                                     return Status();
                                   },
                               .stats = [] { return EngineStats{.requests_ok = 3, .batches = 2}; },
                               .time =
                                   [no_time](const InferRequest& request) {
                                     return no_time && request.timeout_microseconds > 0 ? *no_time : Status();
                                   },
                               .queued = [no_time] { return no_time ? size_t{1} : size_t{0}; }};
    models_.Publish("toy", {std::make_shared<const serving::ServedModel>(std::move(model))});
    return {.models = &models_, .server_version = "9.9"};
  }
  serving::Models* models() { return &models_; }

  void WaitFor(size_t count) {
    std::unique_lock lock(mutex_);
    arrived_.wait(lock, [&] { return held_.size() >= count; });
  }

  // Whether the client of the first request that is held has gone.
  bool FirstIsCanceled() {
    const std::lock_guard lock(mutex_);
    return *held_.at(0).first.canceled;
  }

  // Answers what is held, on the calling thread, with its Score.
  void AnswerAll(std::optional<Status> failure = std::nullopt) {
    std::vector<std::pair<InferRequest, InferCallback>> held;
    {
      const std::lock_guard lock(mutex_);
      held.swap(held_);
    }
    for (auto& [request, done] : held) done(failure ? InferResult(*failure) : InferResult(Score(request)));
  }

  // As an engine never does.
  void DropAll() {
    const std::lock_guard lock(mutex_);
    held_.clear();
  }

 private:
  serving::Models models_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<std::pair<InferRequest, InferCallback>> held_;
};

// A request for the score of one row, and the answer to it.
inline constexpr char kInferJson[] =
    R"({"inputs":[{"name":"dense","datatype":"FP32","shape":[1,4],"data":[1,2,3,4]}],"outputs":[{"name":"score"}]})";
inline constexpr char kInferAnswer[] = R"({"model_name":"toy","model_version":"1",)"
                                       R"("outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[10]}]})";

}  // namespace recpile::testing
