#include "coalesce/coalescer.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>

namespace recpile {
namespace {

constexpr size_t kAlignment = 64;

// The tensor itself, if its segments lie one behind the other in its data already.
std::optional<Tensor> InPlace(const SegmentedInput& input) {
  const std::vector<Segment>& segments = input.segments;
  for (size_t key = 1; key < segments.size(); ++key) {
    if (segments[key].begin != segments[key - 1].end) return std::nullopt;
  }
  Tensor tensor = input.tensor;
  tensor.data = tensor.data.subspan(segments.front().begin, segments.back().end - segments.front().begin);
  return tensor;
}

// Input `i` of all requests, key by key, in `buffers`.
Tensor Join(std::span<const CheckedRequest* const> requests, size_t i, size_t axis, BatchBuffers& buffers) {
  Tensor joined = requests[0]->inputs[i].tensor;
  joined.shape[axis] = 0;
  size_t bytes = 0;
  for (const CheckedRequest* request : requests) {
    joined.shape[axis] += request->inputs[i].tensor.shape[axis];
    for (const Segment& segment : request->inputs[i].segments) bytes += segment.size();
  }
  std::byte* const start = buffers.Get(i, bytes);
  std::byte* to = start;
  const size_t keys = requests[0]->inputs[i].segments.size();
  for (size_t key = 0; key < keys; ++key) {
    for (const CheckedRequest* request : requests) {
      const SegmentedInput& input = request->inputs[i];
      const Segment& segment = input.segments[key];
      if (segment.size() > 0) std::memcpy(to, input.tensor.data.data() + segment.begin, segment.size());
      to += segment.size();
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
    std::optional<Tensor> tensor;
    if (requests.size() == 1) tensor = InPlace(requests[0]->inputs[i]);
    batch.inputs.push_back(tensor ? *std::move(tensor) : Join(requests, i, GrowingAxis(manifest.inputs[i]), buffers));
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
