#include "recpile/tensor.h"

#include <array>

namespace recpile {
namespace {

struct DTypeEntry {
  std::string_view name;
  size_t bytes;
};

// Indexed by DType.
constexpr std::array<DTypeEntry, 9> kDTypes = {{{"bool", 1},
                                                {"uint8", 1},
                                                {"int8", 1},
                                                {"int32", 4},
                                                {"int64", 8},
                                                {"fp16", 2},
                                                {"bf16", 2},
                                                {"fp32", 4},
                                                {"fp64", 8}}};

}  // namespace

size_t DTypeBytes(DType dtype) { return kDTypes[static_cast<size_t>(dtype)].bytes; }

std::string_view DTypeName(DType dtype) { return kDTypes[static_cast<size_t>(dtype)].name; }

std::optional<DType> DTypeFromName(std::string_view name) {
  for (size_t i = 0; i < kDTypes.size(); ++i) {
    if (kDTypes[i].name == name) return static_cast<DType>(i);
  }
  return std::nullopt;
}

std::string ShapeToString(const Shape& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  return text + "]";
}

}  // namespace recpile
