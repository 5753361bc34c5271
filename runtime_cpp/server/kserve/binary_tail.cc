#include "kserve/binary_tail.h"

#include <cstdint>

#include "kserve/datatypes.h"
#include "kserve/tensor_bytes.h"
#include "nlohmann/json.hpp"

namespace recpile::kserve {
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
  const std::span<const std::byte> bytes = rest_.first(claimed);
  rest_ = rest_.subspan(claimed);
  return ViewBytes(bytes, owner_, label, tensor);
}

}  // namespace recpile::kserve
