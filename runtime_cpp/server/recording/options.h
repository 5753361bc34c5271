// What of the live requests is recorded, and where.
#pragma once

#include <cstdint>
#include <filesystem>

namespace recpile::recording {

struct RecordingOptions {
  std::filesystem::path file;
  double share = 0.01;                     // of the requests, above 0 and at most 1
  uint64_t max_bytes = uint64_t{1} << 30;  // of the file; at that, recording stops
};

}  // namespace recpile::recording
