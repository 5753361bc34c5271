// One recorded request in the file's format (docs/recording.md).
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "recpile/engine.h"

namespace recpile::recording {

// What every recording begins with.
inline constexpr std::string_view kFileHeader = "recpile-recording 1\n";
// In front of a record's payload: its size as a u32, its XXH3-64 as a u64, both little-endian.
inline constexpr size_t kRecordHeaderBytes = 12;

// A request on its way. Its inputs' bytes are copied: the client's buffer, or its shared memory, may be used again
// before the record is written.
struct Pending {
  std::string model;
  std::string version;
  std::chrono::system_clock::time_point arrived;
  std::chrono::steady_clock::time_point started;
  uint64_t priority = 0;
  int64_t timeout_microseconds = 0;
  bool partial_ok = false;
  std::vector<TensorSpec> inputs;
  std::string input_bytes;
};

Pending Begin(const ModelInfo& model, const InferRequest& request);

// The record, header included; empty for one that is too large for the format (4 GiB).
std::string EncodeRecord(const Pending& pending, const InferResult& answer, std::chrono::nanoseconds elapsed);

}  // namespace recpile::recording
