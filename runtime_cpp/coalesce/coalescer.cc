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

// Input `i` of all requests, key by key, and `extra` rows more, in `buffers`.
Tensor Join(const InputTensor& input, std::span<const CheckedRequest* const> requests, size_t i, size_t extra,
            BatchBuffers& buffers) {
  const size_t keys = requests[0]->inputs[i].segments.size(), axis = GrowingAxis(input);
  Tensor joined = requests[0]->inputs[i].tensor;
  joined.shape[axis] = 0;
  size_t bytes = 0;
  for (const CheckedRequest* request : requests) {
    joined.shape[axis] += request->inputs[i].tensor.shape[axis];
    for (const Segment& segment : request->inputs[i].segments) bytes += segment.size();
  }
  // Ids get no padding: the bags of rows that are none are empty.
  if (input.role == InputRole::kValues || input.role == InputRole::kWeights) extra = 0;
  const size_t row_bytes = extra == 0 ? 0 : bytes / keys / static_cast<size_t>(joined.shape[axis]);
  joined.shape[axis] += static_cast<int64_t>(extra);
  bytes += extra * keys * row_bytes;

  std::byte* const start = buffers.Get(i, bytes);
  std::byte* to = start;
  for (size_t key = 0; key < keys; ++key) {
    for (const CheckedRequest* request : requests) {
      const SegmentedInput& one = request->inputs[i];
      const Segment& segment = one.segments[key];
      if (segment.size() > 0) std::memcpy(to, one.tensor.data.data() + segment.begin, segment.size());
      to += segment.size();
    }
    for (size_t row = 0; row < extra; ++row, to += row_bytes) {
      if (input.role == InputRole::kLengths) {
        std::memset(to, 0, row_bytes);
      } else {
        std::memcpy(to, to - row_bytes, row_bytes);
      }
    }
  }
  joined.data = {start, bytes};
  joined.owner = nullptr;
  return joined;
}

Tensor CandidateToRequest(std::span<const CheckedRequest* const> requests, const Batch& batch, BatchBuffers& buffers) {
  const std::span all(reinterpret_cast<int64_t*>(
                          buffers.Get(batch.inputs.size(), static_cast<size_t>(batch.candidates) * sizeof(int64_t))),
                      static_cast<size_t>(batch.candidates));
  auto to = all.begin();
  for (size_t r = 0; r < requests.size(); ++r) to = std::fill_n(to, requests[r]->rows, static_cast<int64_t>(r));
  std::fill(to, all.end(), static_cast<int64_t>(requests.size()) - 1);
  return {std::string(kCandidateToRequest), DType::kInt64, {batch.candidates}, std::as_bytes(all), {}};
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

Batch Coalesce(const Manifest& manifest, std::span<const CheckedRequest* const> requests, BatchBuffers& buffers,
               const BatchSizes& sizes) {
  const auto own_requests = static_cast<int64_t>(requests.size());
  int64_t own_candidates = 0;
  Batch batch;
  for (const CheckedRequest* request : requests) {
    own_candidates += request->rows;
    batch.out_of_range = batch.out_of_range || request->out_of_range;
  }
  batch.requests = sizes.AtLeast(own_requests);
  batch.candidates = sizes.AtLeast(own_candidates);
  batch.inputs.reserve(manifest.inputs.size() + 1);
  for (size_t i = 0; i < manifest.inputs.size(); ++i) {
    const InputTensor& input = manifest.inputs[i];
    const int64_t extra =
        input.axis == Axis::kRequest ? batch.requests - own_requests : batch.candidates - own_candidates;
    const bool ids = input.role == InputRole::kValues || input.role == InputRole::kWeights;
    std::optional<Tensor> tensor;
    if (requests.size() == 1 && (extra == 0 || ids)) tensor = InPlace(requests[0]->inputs[i]);
    batch.inputs.push_back(tensor ? *std::move(tensor) : Join(input, requests, i, static_cast<size_t>(extra), buffers));
  }
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
