// Tensors in typed form: InferTensorContents.
#pragma once

#include <string>

#include "recpile/status.h"
#include "recpile/tensor.h"
#include "rpc/inference.pb.h"

namespace recpile::rpc {

// Gives `tensor`, whose data type and shape are known, the values of `contents`, narrowed to its type. Refuses values
// in a field of another type, of another number than the shape needs, or beyond the type's range; and FP16 and BF16,
// which have no typed form. `label` names the input in errors.
Status TakeContents(const inference::InferTensorContents& contents, const std::string& label, Tensor* tensor);

}  // namespace recpile::rpc
