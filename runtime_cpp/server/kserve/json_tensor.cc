#include "kserve/json_tensor.h"

#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <type_traits>
#include <utility>

#include "kserve/aligned_buffer.h"
#include "kserve/datatypes.h"
#include "kserve/tensor_bytes.h"

namespace recpile::kserve {
namespace {

using Kind = PackedData::Kind;

// Writes one value as a T; nothing if T cannot hold it.
template <typename T>
std::optional<T> Convert(Kind kind, uint64_t bits) {
  if constexpr (std::is_same_v<T, bool>) {
    if ((kind == Kind::kBool || kind == Kind::kUnsigned) && bits <= 1) return bits == 1;
    return std::nullopt;
  } else if constexpr (std::is_floating_point_v<T>) {
    if (kind == Kind::kBool) return std::nullopt;
    if (kind == Kind::kUnsigned) return static_cast<T>(bits);
    if (kind == Kind::kNegative) return static_cast<T>(static_cast<int64_t>(bits));
    const double value = std::bit_cast<double>(bits);
    const T max = std::numeric_limits<T>::max();
    if (std::abs(value) <= max) return static_cast<T>(value);
    // The shortest spelling of the largest float, 3.4028235e+38, is a double just beyond it. What lies less than half a
    // step beyond rounds down, as it would have inside the range.
    const double half_step = std::ldexp(1.0, std::numeric_limits<T>::max_exponent - std::numeric_limits<T>::digits - 1);
    if (std::abs(value) - max < half_step) return value > 0 ? max : -max;
    return std::nullopt;
  } else {
    if (kind == Kind::kUnsigned && std::in_range<T>(bits)) return static_cast<T>(bits);
    if (kind == Kind::kNegative && std::in_range<T>(static_cast<int64_t>(bits))) return static_cast<T>(bits);
    if (kind != Kind::kFloat) return std::nullopt;
    const double value = std::bit_cast<double>(bits);
    // 2^digits is the first value beyond T's maximum, and exact as a double where the maximum itself may not be.
    const double end = std::ldexp(1.0, std::numeric_limits<T>::digits);
    const double begin = std::is_signed_v<T> ? -end : 0.0;
    if (!(value >= begin && value < end) || value != std::trunc(value)) return std::nullopt;
    return static_cast<T>(value);
  }
}

std::string Spell(Kind kind, uint64_t bits) {
  if (kind == Kind::kBool) return bits == 1 ? "true" : "false";
  if (kind == Kind::kUnsigned) return std::to_string(bits);
  if (kind == Kind::kNegative) return std::to_string(static_cast<int64_t>(bits));
  char digits[32];
  const auto end = std::to_chars(digits, digits + sizeof(digits), std::bit_cast<double>(bits)).ptr;
  return std::string(digits, end);
}

template <typename T>
Status Fill(std::string_view name, DType dtype, const PackedData& data, std::byte* target) {
  for (size_t i = 0; i < data.bits.size(); ++i) {
    const std::optional<T> value = Convert<T>(data.kinds[i], data.bits[i]);
    if (!value) {
      return Status::InvalidArgument("input '" + Excerpt(name) + "': data[" + std::to_string(i) + "] is " +
                                     Spell(data.kinds[i], data.bits[i]) + ", which is not a value of " +
                                     std::string(DatatypeName(dtype)));
    }
    std::memcpy(target + i * sizeof(T), &*value, sizeof(T));
  }
  return Status();
}

template <typename T>
void AppendValues(const Tensor& tensor, std::string* text) {
  char digits[32];
  for (size_t at = 0; at + sizeof(T) <= tensor.data.size(); at += sizeof(T)) {
    if (at > 0) text->push_back(',');
    T value;
    std::memcpy(&value, tensor.data.data() + at, sizeof(T));
    if constexpr (std::is_floating_point_v<T>) {
      if (!std::isfinite(value)) {
        text->append("null");
        continue;
      }
    }
    text->append(digits, std::to_chars(digits, digits + sizeof(digits), value).ptr);
  }
}

void AppendBools(const Tensor& tensor, std::string* text) {
  for (size_t i = 0; i < tensor.data.size(); ++i) {
    if (i > 0) text->push_back(',');
    text->append(tensor.data[i] != std::byte{0} ? "true" : "false");
  }
}

}  // namespace

Result<Tensor> TensorFromPacked(std::string_view name, DType dtype, const Shape& shape, const PackedData& data) {
  const std::string label = "input '" + Excerpt(name) + "': ";
  if (!HasJsonForm(dtype)) {
    return Status::InvalidArgument(label + std::string(DatatypeName(dtype)) +
                                   " has no JSON form; send it as a binary tensor (parameter binary_data_size)");
  }
  const std::optional<size_t> count = ElementCount(shape);
  if (count != data.bits.size()) {
    return Status::InvalidArgument(label + "data has " + std::to_string(data.bits.size()) + " values, but shape " +
                                   ShapeToString(shape) + " needs " + (count ? std::to_string(*count) : "too many"));
  }
  if (data.nesting.size() > 1 && data.nesting != shape) {
    return Status::InvalidArgument(label + "data is nested as " + ShapeToString(data.nesting) + ", but shape says " +
                                   ShapeToString(shape) + "; nest it alike or send it flat");
  }
  auto buffer = std::make_shared<AlignedBuffer>(*count * DTypeBytes(dtype));
  Status filled;
  switch (dtype) {
    case DType::kBool:
      filled = Fill<bool>(name, dtype, data, buffer->data());
      break;
    case DType::kUint8:
      filled = Fill<uint8_t>(name, dtype, data, buffer->data());
      break;
    case DType::kInt8:
      filled = Fill<int8_t>(name, dtype, data, buffer->data());
      break;
    case DType::kInt32:
      filled = Fill<int32_t>(name, dtype, data, buffer->data());
      break;
    case DType::kInt64:
      filled = Fill<int64_t>(name, dtype, data, buffer->data());
      break;
    case DType::kFp32:
      filled = Fill<float>(name, dtype, data, buffer->data());
      break;
    case DType::kFp64:
      filled = Fill<double>(name, dtype, data, buffer->data());
      break;
    case DType::kFp16:
    case DType::kBf16:
      break;  // refused above
  }
  RECPILE_RETURN_IF_ERROR(std::move(filled));
  const std::span<const std::byte> bytes = buffer->span();
  return Tensor{.name = std::string(name), .dtype = dtype, .shape = shape, .data = bytes, .owner = std::move(buffer)};
}

void AppendJsonData(const Tensor& tensor, std::string* text) {
  text->push_back('[');
  switch (tensor.dtype) {
    case DType::kBool:
      AppendBools(tensor, text);
      break;
    case DType::kUint8:
      AppendValues<uint8_t>(tensor, text);
      break;
    case DType::kInt8:
      AppendValues<int8_t>(tensor, text);
      break;
    case DType::kInt32:
      AppendValues<int32_t>(tensor, text);
      break;
    case DType::kInt64:
      AppendValues<int64_t>(tensor, text);
      break;
    case DType::kFp32:
      AppendValues<float>(tensor, text);
      break;
    case DType::kFp64:
      AppendValues<double>(tensor, text);
      break;
    case DType::kFp16:
    case DType::kBf16:
      break;  // never asked for: DecodeInferRequest refuses the choice
  }
  text->push_back(']');
}

}  // namespace recpile::kserve
