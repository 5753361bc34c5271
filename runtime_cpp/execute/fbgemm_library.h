// Brings FBGEMM's operators into this process.
#pragma once

#include <string>

#include "recpile/status.h"

namespace recpile {

// Loads FBGEMM's operator libraries from `dir`, or, if it is empty, from the `fbgemm_gpu` folder beside the `torch`
// folder that holds this process's libtorch. Once it has succeeded, later calls do nothing. NotFound says
// where it looked.
Status LoadFbgemm(const std::string& dir);

}  // namespace recpile
