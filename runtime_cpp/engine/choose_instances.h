// How many instances a model gets where nobody says.
#pragma once

#include <functional>
#include <vector>

#include "recpile/engine.h"

namespace recpile {

// As many as `most`, or half, or a quarter ... of them, if more add less than a tenth: cores that share their
// arithmetic or their memory bandwidth. `measure(n)`: candidates a second of n instances, 0 if it cannot tell. Every
// trial is in the answer, the chosen one last.
std::vector<InstanceTrial> ChooseInstances(int most, const std::function<double(int)>& measure);

}  // namespace recpile
