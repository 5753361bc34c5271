// The binary part of an infer request's body.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "nlohmann/json_fwd.hpp"
#include "recpile/status.h"
#include "recpile/tensor.h"

namespace recpile::kserve {

inline constexpr char kLengthHeader[] = "Inference-Header-Content-Length";

// Hands out the binary tensors one after the other, in the order in which the JSON lists them.
class BinaryTail {
 public:
  // `announced`: the request has the header that says where its binary part begins. `owner` keeps `bytes` alive.
  BinaryTail(std::span<const std::byte> bytes, std::shared_ptr<const void> owner, bool announced)
      : rest_(bytes), owner_(std::move(owner)), announced_(announced) {}

  // Gives `tensor`, whose data type and shape are known, its bytes. `size` is the parameter binary_data_size; `label`
  // names the input in errors.
  Status Take(const nlohmann::json& size, const std::string& label, Tensor* tensor);

  size_t left() const { return rest_.size(); }

 private:
  std::span<const std::byte> rest_;
  std::shared_ptr<const void> owner_;
  bool announced_;
};

}  // namespace recpile::kserve
