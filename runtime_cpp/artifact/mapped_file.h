// A file mapped read-only.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "recpile/status.h"

namespace recpile {

class MappedFile {
 public:
  static Result<std::shared_ptr<const MappedFile>> Open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  // Page-aligned. Valid as long as this object.
  std::span<const std::byte> bytes() const { return bytes_; }

  // Copies bytes [offset, offset + into.size()) without touching the mapping. False, and errno, if that failed.
  bool Read(size_t offset, std::span<std::byte> into) const;

  // Takes [begin, end) out of this process's memory until it is read again.
  void Forget(size_t begin, size_t end) const;

  // A path that opens this very file, also when another has been moved to its name since. Valid as long as this object.
  std::string open_path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  MappedFile(std::span<const std::byte> bytes, int descriptor) : bytes_(bytes), descriptor_(descriptor) {}
  std::span<const std::byte> bytes_;
  int descriptor_;
};

}  // namespace recpile
