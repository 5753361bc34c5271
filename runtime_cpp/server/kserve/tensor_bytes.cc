#include "kserve/tensor_bytes.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>
#include <utility>

#include "kserve/aligned_buffer.h"
#include "kserve/datatypes.h"
#include "kserve/request_json.h"

namespace recpile::kserve {
namespace {

static_assert(std::endian::native == std::endian::little, "binary tensors are passed on without swapping bytes");

// A view of a type needs its alignment; a client need not have given it.
void CopyIfMisaligned(Tensor* tensor) {
  if (reinterpret_cast<uintptr_t>(tensor->data.data()) % DTypeBytes(tensor->dtype) == 0) return;
  auto copy = std::make_shared<AlignedBuffer>();
  copy->Append(tensor->data.data(), tensor->data.size());
  tensor->data = copy->span();
  tensor->owner = std::move(copy);
}

// To read a byte that is neither 0 nor 1 as a C++ bool is undefined, and somebody downstream will.
Status CheckBools(const Tensor& tensor, const std::string& label) {
  if (tensor.dtype != DType::kBool) return Status();
  const auto bad = std::ranges::find_if(tensor.data, [](std::byte byte) { return byte > std::byte{1}; });
  if (bad == tensor.data.end()) return Status();
  return Status::InvalidArgument(label + ": byte " + std::to_string(bad - tensor.data.begin()) + " is " +
                                 std::to_string(std::to_integer<int>(*bad)) + "; a BOOL is 0 or 1");
}

}  // namespace

std::optional<size_t> ElementCount(const Shape& shape) {
  size_t product = 1;
  bool empty = false;
  for (const int64_t dim : shape) {
    if (dim < 0) return std::nullopt;
    // A zero does not excuse its neighbours: strides computed from [2^40, 2^40, 0] would overflow all the same.
    if (dim == 0)
      empty = true;
    else if (__builtin_mul_overflow(product, static_cast<size_t>(dim), &product))
      return std::nullopt;
  }
  // Headroom for the widest element, so that the callers' byte counts cannot overflow either.
  if (product > std::numeric_limits<int64_t>::max() / sizeof(double)) return std::nullopt;
  return empty ? 0 : product;
}

Status CheckShape(const Shape& shape, const std::string& label) {
  if (shape.size() > kMaxRank) {
    return Status::InvalidArgument(label + ": shape has " + std::to_string(shape.size()) + " dimensions; at most " +
                                   std::to_string(kMaxRank) + " are allowed");
  }
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] >= 0) continue;
    return Status::InvalidArgument(label + ": shape[" + std::to_string(i) + "] is " + std::to_string(shape[i]) +
                                   "; a dimension is an integer of at least 0");
  }
  if (ElementCount(shape)) return Status();
  return Status::InvalidArgument(label + ": shape " + ShapeToString(shape) + " has more elements than memory");
}

Status ViewBytes(std::span<const std::byte> bytes, std::shared_ptr<const void> owner, const std::string& label,
                 Tensor* tensor) {
  const uint64_t needed = *ElementCount(tensor->shape) * DTypeBytes(tensor->dtype);
  if (bytes.size() != needed) {
    return Status::InvalidArgument(label + " has " + std::to_string(bytes.size()) + " bytes, but " +
                                   std::string(DatatypeName(tensor->dtype)) + " of shape " +
                                   ShapeToString(tensor->shape) + " takes " + std::to_string(needed));
  }
  tensor->data = bytes;
  tensor->owner = std::move(owner);
  CopyIfMisaligned(tensor);
  return CheckBools(*tensor, label);
}

Result<size_t> OutputIndex(const ModelInfo& model, const std::string& name) {
  std::string known;
  for (size_t i = 0; i < model.outputs.size(); ++i) {
    if (model.outputs[i].name == name) return i;
    known += (i == 0 ? "'" : ", '") + model.outputs[i].name + "'";
  }
  return Status::InvalidArgument("model '" + model.name + "' has no output '" + Excerpt(name) + "'; it has " + known);
}

Status CheckAnswer(const ModelInfo& model, const std::vector<Tensor>& outputs) {
  if (outputs.size() != model.outputs.size()) {
    return Status::Internal("the engine answered " + std::to_string(outputs.size()) + " outputs, but the model has " +
                            std::to_string(model.outputs.size()));
  }
  for (const Tensor& tensor : outputs) {
    const std::optional<size_t> count = ElementCount(tensor.shape);
    if (count && *count * DTypeBytes(tensor.dtype) == tensor.data.size()) continue;
    return Status::Internal("output '" + tensor.name + "' has " + std::to_string(tensor.data.size()) +
                            " bytes, which does not suit its shape " + ShapeToString(tensor.shape));
  }
  return Status();
}

}  // namespace recpile::kserve
