// Exceptions that become a Status.
#pragma once

#include <exception>
#include <string>

#include "recpile/status.h"

namespace recpile {

// For what may run out of memory or threads on the way: no exception crosses the engine's boundary.
template <typename F>
auto Caught(const char* what, F&& work) -> decltype(work()) {
  try {
    return work();
  } catch (const std::exception& error) {
    return Status::Internal(std::string(what) + " failed: " + error.what());
  }
}

}  // namespace recpile
