#include "kserve/binary_tail.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <utility>

#include "kserve/aligned_buffer.h"
#include "kserve/datatypes.h"
#include "kserve/json_tensor.h"
#include "nlohmann/json.hpp"

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

Status BinaryTail::Take(const nlohmann::json& size, const std::string& label, Tensor* tensor) {
  if (!size.is_number_unsigned()) {
    return Status::InvalidArgument(label + ": parameter \"binary_data_size\" must be an integer of at least 0");
  }
  if (!announced_) {
    return Status::InvalidArgument(label + " is binary, but the request has no header " + kLengthHeader +
                                   " (the length of the JSON part, in bytes)");
  }
  const uint64_t claimed = size.get<uint64_t>();
  const uint64_t needed = *ElementCount(tensor->shape) * DTypeBytes(tensor->dtype);
  if (claimed != needed) {
    return Status::InvalidArgument(label + ": binary_data_size is " + std::to_string(claimed) + ", but " +
                                   std::string(DatatypeName(tensor->dtype)) + " of shape " +
                                   ShapeToString(tensor->shape) + " takes " + std::to_string(needed) + " bytes");
  }
  if (claimed > rest_.size()) {
    return Status::InvalidArgument(label + ": binary_data_size is " + std::to_string(claimed) + ", but only " +
                                   std::to_string(rest_.size()) + " bytes of the body are left");
  }
  tensor->data = rest_.first(claimed);
  tensor->owner = owner_;
  rest_ = rest_.subspan(claimed);
  CopyIfMisaligned(tensor);
  return CheckBools(*tensor, label);
}

}  // namespace recpile::kserve
