#include "coalesce/coalescer.h"

#include <cstring>
#include <memory>

namespace recpile {
namespace {

constexpr size_t kAlignment = 64;

// The axis that grows when requests are joined: candidates of lengths [F, B] are last, everything else grows in front.
size_t GrowingAxis(const InputTensor& input) {
  return input.role == InputRole::kLengths ? input.spec.shape.size() - 1 : 0;
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

std::vector<Tensor> Coalesce(const Manifest& manifest, std::span<const CheckedRequest* const> requests,
                             BatchBuffers& buffers) {
  std::vector<Tensor> batch;
  batch.reserve(manifest.inputs.size());
  for (size_t i = 0; i < manifest.inputs.size(); ++i) {
    if (requests.size() == 1) {
      batch.push_back(requests[0]->inputs[i].tensor);
      continue;
    }
    const size_t axis = GrowingAxis(manifest.inputs[i]);
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
    batch.push_back(std::move(joined));
  }
  return batch;
}

std::vector<Tensor> SplitRows(const std::vector<Tensor>& outputs, int64_t first, int64_t rows) {
  std::vector<Tensor> answer = outputs;
  for (Tensor& tensor : answer) {
    const size_t row_bytes = tensor.data.size() / static_cast<size_t>(tensor.shape[0]);
    tensor.data = tensor.data.subspan(static_cast<size_t>(first) * row_bytes, static_cast<size_t>(rows) * row_bytes);
    tensor.shape[0] = rows;
  }
  return answer;
}

}  // namespace recpile
