// Tensors that a request names in shared memory, for both protocols.
#pragma once

#include <string>

#include "recpile/status.h"
#include "recpile/tensor.h"
#include "serving/shared_memory.h"

namespace recpile::kserve {

// Gives `tensor`, whose data type and shape are known, a copy of the slice. `memory`: null if the server has it off.
// `label` names the input in errors.
Status ReadShared(const serving::SharedMemory* memory, const serving::MemorySlice& slice, const std::string& label,
                  Tensor* tensor);

// Writes an output there. kInvalidArgument if it is larger than the slice.
Status WriteShared(const serving::SharedMemory* memory, const serving::MemorySlice& slice, const Tensor& tensor);

// The refusal where it is off.
Status SharedMemoryIsOff();

}  // namespace recpile::kserve
