// Plain tensors as torch's. Internal to execute/.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>

#include <cstddef>

#include "recpile/tensor.h"

namespace recpile {

inline at::ScalarType ToTorch(DType dtype) {
  switch (dtype) {
    case DType::kBool:
      return at::kBool;
    case DType::kUint8:
      return at::kByte;
    case DType::kInt8:
      return at::kChar;
    case DType::kInt32:
      return at::kInt;
    case DType::kInt64:
      return at::kLong;
    case DType::kFp16:
      return at::kHalf;
    case DType::kBf16:
      return at::kBFloat16;
    case DType::kFp32:
      return at::kFloat;
    case DType::kFp64:
      return at::kDouble;
  }
  return at::kFloat;
}

// An empty tensor needs an address too.
inline std::byte kNothing[64];

// A view of `tensor`'s memory; torch does not write through it.
inline at::Tensor View(const Tensor& tensor) {
  auto* data = tensor.data.empty() ? kNothing : const_cast<std::byte*>(tensor.data.data());
  return at::from_blob(data, tensor.shape, ToTorch(tensor.dtype));
}

}  // namespace recpile
