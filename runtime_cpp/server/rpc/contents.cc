#include "rpc/contents.h"

#include <memory>
#include <utility>

#include "kserve/aligned_buffer.h"
#include "kserve/datatypes.h"
#include "kserve/tensor_bytes.h"

namespace recpile::rpc {
namespace {

using inference::InferTensorContents;

// Copies the values of one field; `T` is the tensor's type.
template <typename T, typename Field>
Status Copy(const Field& values, const char* field, const InferTensorContents& contents, const std::string& label,
            Tensor* tensor) {
  const size_t total = static_cast<size_t>(contents.bool_contents_size() + contents.int_contents_size() +
                                           contents.int64_contents_size() + contents.uint_contents_size() +
                                           contents.uint64_contents_size() + contents.fp32_contents_size() +
                                           contents.fp64_contents_size() + contents.bytes_contents_size());
  const size_t count = static_cast<size_t>(values.size());
  const std::string datatype(kserve::DatatypeName(tensor->dtype));
  if (total != count) {
    return Status::InvalidArgument(label + ": contents of " + datatype + " belong in " + field +
                                   ", and into no other field");
  }
  const size_t needed = *kserve::ElementCount(tensor->shape);
  if (count != needed) {
    return Status::InvalidArgument(label + ": " + field + " has " + std::to_string(count) + " values, but shape " +
                                   ShapeToString(tensor->shape) + " needs " + std::to_string(needed));
  }
  auto buffer = std::make_shared<kserve::AlignedBuffer>(count * sizeof(T));
  T* const target = reinterpret_cast<T*>(buffer->data());
  for (size_t i = 0; i < count; ++i) {
    const auto value = values.Get(static_cast<int>(i));
    target[i] = static_cast<T>(value);
    if (static_cast<decltype(value)>(target[i]) == value || value != value) continue;
    return Status::InvalidArgument(label + ": " + field + "[" + std::to_string(i) + "] is " + std::to_string(value) +
                                   ", which is not a value of " + datatype);
  }
  tensor->data = buffer->span();
  tensor->owner = std::move(buffer);
  return Status();
}

}  // namespace

Status TakeContents(const InferTensorContents& contents, const std::string& label, Tensor* tensor) {
  switch (tensor->dtype) {
    case DType::kBool:
      return Copy<bool>(contents.bool_contents(), "bool_contents", contents, label, tensor);
    case DType::kUint8:
      return Copy<uint8_t>(contents.uint_contents(), "uint_contents", contents, label, tensor);
    case DType::kInt8:
      return Copy<int8_t>(contents.int_contents(), "int_contents", contents, label, tensor);
    case DType::kInt32:
      return Copy<int32_t>(contents.int_contents(), "int_contents", contents, label, tensor);
    case DType::kInt64:
      return Copy<int64_t>(contents.int64_contents(), "int64_contents", contents, label, tensor);
    case DType::kFp32:
      return Copy<float>(contents.fp32_contents(), "fp32_contents", contents, label, tensor);
    case DType::kFp64:
      return Copy<double>(contents.fp64_contents(), "fp64_contents", contents, label, tensor);
    case DType::kFp16:
    case DType::kBf16:
      break;
  }
  return Status::InvalidArgument(label + ": " + std::string(kserve::DatatypeName(tensor->dtype)) +
                                 " has no typed contents; send it in raw_input_contents");
}

}  // namespace recpile::rpc
