// The toy model, read, and tensors for it.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "artifact/manifest.h"
#include "recpile/tensor.h"
#include "toy_manifest.h"

namespace recpile::testing {

// `text` with its one occurrence of `from` made `to`.
inline std::string Replaced(std::string_view text, std::string_view from, std::string_view to) {
  const size_t at = text.find(from);
  if (at == text.npos || text.find(from, at + 1) != text.npos) {
    ADD_FAILURE() << "must occur exactly once: " << from;
    return std::string(text);
  }
  return std::string(text.substr(0, at)) + std::string(to) + std::string(text.substr(at + from.size()));
}

inline Manifest ToyModel() {
  auto manifest = ParseManifest(kToyManifest);
  if (!manifest.ok()) {
    ADD_FAILURE() << manifest.status().message();
    return {};
  }
  return std::move(manifest).value();
}

template <typename T>
constexpr DType kDTypeOf = DType::kFp32;
template <>
inline constexpr DType kDTypeOf<int64_t> = DType::kInt64;
template <>
inline constexpr DType kDTypeOf<int32_t> = DType::kInt32;

// A tensor that owns `values`.
template <typename T>
Tensor Of(std::string name, Shape shape, std::vector<T> values) {
  auto owned = std::make_shared<const std::vector<T>>(std::move(values));
  return {std::move(name), kDTypeOf<T>, std::move(shape), std::as_bytes(std::span(*owned)), owned};
}

template <typename T>
std::vector<T> Values(const Tensor& tensor) {
  const auto values = tensor.as<T>();
  return {values.begin(), values.end()};
}

}  // namespace recpile::testing
