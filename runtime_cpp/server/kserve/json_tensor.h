// Tensors in JSON form: `"data": [...]`.
#pragma once

#include <string>
#include <string_view>

#include "kserve/request_json.h"
#include "recpile/status.h"
#include "recpile/tensor.h"

namespace recpile::kserve {

// Checks every value's kind and range against `dtype` and the count against `shape`. `data` may be flat, or nested
// exactly as `shape`. Integers accept 3.0 but not 3.5; BOOL accepts true, false, 1 and 0; no other type accepts
// booleans.
Result<Tensor> TensorFromPacked(std::string_view name, DType dtype, const Shape& shape, const PackedData& data);

// Appends "[0.5,0.25]", flat, to `text`. Floats are written with the fewest digits that give the same bits back; NaN
// and infinity, which JSON cannot say, as null (the binary form carries them). `tensor.data` may be misaligned.
void AppendJsonData(const Tensor& tensor, std::string* text);

}  // namespace recpile::kserve
