#include "kserve/datatypes.h"

#include <array>
#include <utility>

namespace recpile::kserve {
namespace {

constexpr std::array<std::pair<DType, std::string_view>, 9> kNames = {{
    {DType::kBool, "BOOL"},
    {DType::kUint8, "UINT8"},
    {DType::kInt8, "INT8"},
    {DType::kInt32, "INT32"},
    {DType::kInt64, "INT64"},
    {DType::kFp16, "FP16"},
    {DType::kBf16, "BF16"},
    {DType::kFp32, "FP32"},
    {DType::kFp64, "FP64"},
}};

}  // namespace

std::string_view DatatypeName(DType dtype) {
  for (const auto& [type, name] : kNames) {
    if (type == dtype) return name;
  }
  return "INVALID";
}

std::optional<DType> DatatypeFromName(std::string_view name) {
  for (const auto& [type, known] : kNames) {
    if (known == name) return type;
  }
  return std::nullopt;
}

std::string KnownDatatypes() {
  std::string text;
  for (const auto& [type, name] : kNames) {
    if (!text.empty()) text += ", ";
    text += name;
  }
  return text;
}

std::string ConfigTypeName(DType dtype) { return "TYPE_" + std::string(DatatypeName(dtype)); }

bool HasJsonForm(DType dtype) { return dtype != DType::kFp16 && dtype != DType::kBf16; }

}  // namespace recpile::kserve
