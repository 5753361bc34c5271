// Plain tensors: what crosses the engine's boundary. No torch type appears here (see docs/architecture.md).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace recpile {

enum class DType : uint8_t { kBool, kUint8, kInt8, kInt32, kInt64, kFp16, kBf16, kFp32, kFp64 };

size_t DTypeBytes(DType dtype);
// The name used in manifests and errors: "fp32", "int64", "bool", ...
std::string_view DTypeName(DType dtype);
std::optional<DType> DTypeFromName(std::string_view name);

// One dimension an entry; in a TensorSpec, -1 is a size that varies from request to request. What a request has one row
// of (its user, its context) has size 1 there.
using Shape = std::vector<int64_t>;
std::string ShapeToString(const Shape& shape);  // "[2, 13]"

// What a model expects or answers.
struct TensorSpec {
  std::string name;
  DType dtype = DType::kFp32;
  Shape shape;
};

// A named, row-major, contiguous, little-endian tensor, aligned to its type. Copying one copies the view, never the
// bytes.
struct Tensor {
  std::string name;
  DType dtype = DType::kFp32;
  Shape shape;
  std::span<const std::byte> data;
  // Keeps `data` alive; may be null when the caller guarantees that otherwise.
  std::shared_ptr<const void> owner;

  template <typename T>
  std::span<const T> as() const {
    return {reinterpret_cast<const T*>(data.data()), data.size() / sizeof(T)};
  }
};

}  // namespace recpile
