// Requests for the toy model, built candidate by candidate: what a client would have to lay out by hand.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "recpile/engine.h"
#include "toy_model.h"

namespace recpile::testing {

// One id of a weighted bag.
struct Weighted {
  int64_t id;
  float weight;
};

struct Candidate {
  float dense[2] = {0, 0};
  std::vector<Weighted> color;
  std::vector<Weighted> size;
  std::vector<int32_t> history;
};

// The six tensors of a request, in the model's order.
inline InferRequest ToyRequest(std::span<const Candidate> candidates) {
  std::vector<float> dense, weights;
  std::vector<int64_t> ids, lengths;
  std::vector<int32_t> history, history_lengths;
  for (const auto key : {&Candidate::color, &Candidate::size}) {
    for (const Candidate& candidate : candidates) {
      for (const Weighted& one : candidate.*key) {
        ids.push_back(one.id);
        weights.push_back(one.weight);
      }
      lengths.push_back(static_cast<int64_t>((candidate.*key).size()));
    }
  }
  for (const Candidate& candidate : candidates) {
    dense.insert(dense.end(), std::begin(candidate.dense), std::end(candidate.dense));
    history.insert(history.end(), candidate.history.begin(), candidate.history.end());
    history_lengths.push_back(static_cast<int32_t>(candidate.history.size()));
  }
  const auto rows = static_cast<int64_t>(candidates.size());
  const auto nnz = static_cast<int64_t>(ids.size()), seen = static_cast<int64_t>(history.size());
  return {{Of("dense", {rows, 2}, dense), Of("sparse.values", {nnz}, ids), Of("sparse.lengths", {2, rows}, lengths),
           Of("sparse.weights", {nnz}, weights), Of("history.values", {seen}, history),
           Of("history.lengths", {rows}, history_lengths)}};
}

// Two candidates: colors {1, 2} and {3}; sizes none and {15}; histories {7} and {8, 9}.
inline InferRequest TwoCandidates() {
  const Candidate both[] = {{{1, 2}, {{1, 0.5f}, {2, 0.25f}}, {}, {7}}, {{3, 4}, {{3, 1}}, {{15, 2}}, {8, 9}}};
  return ToyRequest(both);
}

// The request with its tensor of that name replaced.
inline InferRequest With(InferRequest request, Tensor tensor) {
  for (Tensor& one : request.inputs) {
    if (one.name != tensor.name) continue;
    one = std::move(tensor);
    return request;
  }
  ADD_FAILURE() << "no input " << tensor.name;
  return request;
}

}  // namespace recpile::testing
