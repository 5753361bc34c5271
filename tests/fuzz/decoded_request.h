// What every decoder of infer requests promises, whatever it was given.
#pragma once

#include <cstddef>

#include "recpile/engine.h"

namespace recpile::testing {

// A small model: every input and output of requests that the fuzzers send is looked for in it.
inline ModelInfo FuzzedModel() {
  return {.name = "toy",
          .version = "1",
          .inputs = {{"dense", DType::kFp32, {-1, 4}}, {"ids.values", DType::kInt64, {-1}}},
          .outputs = {{"score", DType::kFp32, {-1}}, {"half", DType::kBf16, {-1, 2}}}};
}

// Traps unless every tensor has the bytes that its shape needs; reads them all, so that a sanitizer sees what is not
// there.
inline void CheckDecoded(const InferRequest& request) {
  size_t sum = 0;
  for (const Tensor& tensor : request.inputs) {
    size_t bytes = DTypeBytes(tensor.dtype);
    for (const int64_t size : tensor.shape) bytes *= static_cast<size_t>(size);
    if (bytes != tensor.data.size()) __builtin_trap();
    for (const std::byte byte : tensor.data) sum += static_cast<size_t>(byte);
  }
  asm volatile("" : : "r"(sum));
}

}  // namespace recpile::testing
