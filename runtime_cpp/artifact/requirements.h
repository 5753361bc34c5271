// Whether this machine can run an artifact: asked before any of its code is loaded.
#pragma once

#include <set>
#include <string>

#include "artifact/manifest.h"

namespace recpile {

struct Machine {
  std::string torch;   // "2.13"
  std::string fbgemm;  // "1.8"
  std::string arch;    // "x86_64"
  std::set<std::string, std::less<>> cpu_features;
};

// The libraries that this runtime was built with, and the CPU it runs on.
Machine ThisMachine();

// OK, or Unsupported with the first requirement that `machine` does not meet.
Status CheckRequirements(const Requirements& needs, const Machine& machine);

}  // namespace recpile
