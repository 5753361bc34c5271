// A recording on disk: whole records only, up to a size.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

#include "recpile/status.h"

namespace recpile::recording {

// Not thread-safe. Locked against other processes while it is open.
class RecordingFile {
 public:
  // Creates the file, readable by its owner alone; or goes on behind the last whole record of a recording that is
  // there. kInvalidArgument: it is something else, another process records to it, or it cannot be written.
  static Result<RecordingFile> Open(const std::filesystem::path& path, uint64_t max_bytes);

  ~RecordingFile();
  RecordingFile(RecordingFile&& other) noexcept;
  RecordingFile& operator=(RecordingFile&&) = delete;

  // The record as a whole, or nothing of it. kUnavailable: there is no room, by the limit or on the disk.
  Status Append(std::string_view record);

  uint64_t bytes() const { return bytes_; }

 private:
  RecordingFile(int descriptor, uint64_t bytes, uint64_t max_bytes)
      : descriptor_(descriptor), bytes_(bytes), max_bytes_(max_bytes) {}

  int descriptor_;
  uint64_t bytes_;
  uint64_t max_bytes_;
};

}  // namespace recpile::recording
