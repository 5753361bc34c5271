// A line in the log about what was thrown and goes no further.
#pragma once

#include <spdlog/spdlog.h>

#include <exception>
#include <string_view>

namespace recpile::serving {

// Where memory has run out there may be none for the log either; then nothing is said.
inline void LogCaught(std::string_view what, const std::exception& error) noexcept {
  try {
    spdlog::error("{}: {}", what, error.what());
  } catch (const std::exception&) {
  }
}

}  // namespace recpile::serving
