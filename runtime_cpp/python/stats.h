// An engine's counters as a dict.
#pragma once

#include <pybind11/pybind11.h>

#include "recpile/engine.h"

namespace recpile {

namespace py = pybind11;

// By the names of EngineStats; stages and tables by their own names.
py::dict Stats(const Engine& engine);

}  // namespace recpile
