// Tensors as little-endian bytes, and what both protocols check of a request.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "recpile/engine.h"
#include "recpile/status.h"
#include "recpile/tensor.h"

namespace recpile::kserve {

// Dimensions of a tensor on the wire.
inline constexpr size_t kMaxRank = 8;

// How many elements a shape has; nothing if a dimension is negative or the count does not fit.
std::optional<size_t> ElementCount(const Shape& shape);

// Refuses what no tensor can have: too many dimensions, a negative one, more elements than memory. `label` names the
// input in errors.
Status CheckShape(const Shape& shape, const std::string& label);

// Makes `tensor`, whose data type and shape are known, a view of `bytes`, which `owner` keeps alive; or of a copy, if
// they lie misaligned for the type. Refuses bytes of another number than the shape needs, and a BOOL that is neither 0
// nor 1.
Status ViewBytes(std::span<const std::byte> bytes, std::shared_ptr<const void> owner, const std::string& label,
                 Tensor* tensor);

// Where an output that a client asks for is among the model's.
Result<size_t> OutputIndex(const ModelInfo& model, const std::string& name);

// The engine's word is checked too: a blob of the wrong length would shift every tensor behind it.
Status CheckAnswer(const ModelInfo& model, const std::vector<Tensor>& outputs);

}  // namespace recpile::kserve
