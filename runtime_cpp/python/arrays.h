// numpy arrays to requests, and answers to numpy arrays. Under the GIL.
#pragma once

#include <pybind11/pybind11.h>

#include <vector>

#include "recpile/engine.h"

namespace recpile {

namespace py = pybind11;

// The arrays are copied: inputs are checked now and read later, and the caller may refill them in between. Throws what
// numpy throws, and a TypeError for a type that no input can have.
InferRequest ToRequest(const py::dict& inputs);

// Arrays over the answer's own memory, which they keep alive.
py::dict ToDict(const std::vector<Tensor>& outputs);

}  // namespace recpile
