#include "coalesce/coalescer.h"

#include <algorithm>
#include <cstring>
#include <memory>

namespace recpile {
namespace {

constexpr size_t kAlignment = 64;

// The axis that grows when requests are joined: that of lengths [F, B] is last, everything else grows in front.
size_t GrowingAxis(const InputTensor& input) {
  return input.role == InputRole::kLengths ? input.spec.shape.size() - 1 : 0;
}

// Input `i` of all requests, key by key, in `buffers`.
Tensor Join(std::span<const CheckedRequest* const> requests, size_t i, size_t axis, BatchBuffers& buffers) {
  Tensor joined = requests[0]->inputs[i].tensor;
  size_t bytes = joined.data.size();
  for (const CheckedRequest* request : requests.subspan(1)) {
    joined.shape[axis] += request->inputs[i].tensor.shape[axis];
    bytes += request->inputs[i].tensor.data.size();
  }
  std::byte* const start = buffers.Get(i, bytes);
  std::byte* to = start;
  const size_t keys = requests[0]->inputs[i].ends.size();
  for (size_t key = 0; key < keys; ++key) {
    for (const CheckedRequest* request : requests) {
      const SegmentedInput& input = request->inputs[i];
      const size_t from = key == 0 ? 0 : input.ends[key - 1];
      const size_t size = input.ends[key] - from;
      if (size > 0) std::memcpy(to, input.tensor.data.data() + from, size);
      to += size;
    }
  }
  joined.data = {start, bytes};
  joined.owner = nullptr;
  return joined;
}

Tensor CandidateToRequest(std::span<const CheckedRequest* const> requests, const Batch& batch, BatchBuffers& buffers) {
  const size_t bytes = static_cast<size_t>(batch.candidates) * sizeof(int64_t);
  auto* const start = reinterpret_cast<int64_t*>(buffers.Get(batch.inputs.size(), bytes));
  int64_t* to = start;
  for (size_t r = 0; r < requests.size(); ++r) to = std::fill_n(to, requests[r]->rows, static_cast<int64_t>(r));
  return {std::string(kCandidateToRequest), DType::kInt64, {batch.candidates}, std::as_bytes(std::span(start, to)), {}};
}

}  // namespace

std::byte* BatchBuffers::Get(size_t slot, size_t bytes) {
  if (slot >= slots_.size()) slots_.resize(slot + 1);
  std::vector<std::byte>& memory = slots_[slot];
  const size_t wanted = bytes + kAlignment;
  if (memory.size() < wanted) memory.resize(wanted + wanted / 2);
  void* at = memory.data();
  size_t room = memory.size();
  return static_cast<std::byte*>(std::align(kAlignment, bytes, at, room));
}

Batch Coalesce(const Manifest& manifest, std::span<const CheckedRequest* const> requests, BatchBuffers& buffers) {
  Batch batch;
  batch.inputs.reserve(manifest.inputs.size() + 1);
  for (size_t i = 0; i < manifest.inputs.size(); ++i) {
    batch.inputs.push_back(requests.size() == 1 ? requests[0]->inputs[i].tensor
                                                : Join(requests, i, GrowingAxis(manifest.inputs[i]), buffers));
  }
  batch.requests = static_cast<int64_t>(requests.size());
  for (const CheckedRequest* request : requests) batch.candidates += request->rows;
  if (manifest.candidate_to_request >= 0) batch.inputs.push_back(CandidateToRequest(requests, batch, buffers));
  return batch;
}

std::vector<Tensor> Split(const Manifest& manifest, const std::vector<Tensor>& outputs, const Rows& rows) {
  std::vector<Tensor> answer = outputs;
  for (size_t i = 0; i < answer.size(); ++i) {
    Tensor& tensor = answer[i];
    const bool own = manifest.outputs[i].axis == Axis::kRequest;
    const int64_t first = own ? rows.request : rows.first, count = own ? 1 : rows.count;
    const size_t row_bytes = tensor.data.size() / static_cast<size_t>(tensor.shape[0]);
    tensor.data = tensor.data.subspan(static_cast<size_t>(first) * row_bytes, static_cast<size_t>(count) * row_bytes);
    tensor.shape[0] = count;
  }
  return answer;
}

}  // namespace recpile
