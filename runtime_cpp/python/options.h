// From keyword arguments to an engine's options.
#pragma once

#include <pybind11/pybind11.h>

#include "recpile/engine.h"

namespace recpile {

namespace py = pybind11;

// Every option by its name in EngineOptions; what is not given stays as it is there. A TypeError for a name that is
// none, a ValueError for a word that an option does not take.
EngineOptions ToOptions(const py::kwargs& given);

}  // namespace recpile
