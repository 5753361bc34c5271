// An artifact, verified and mapped. Nothing of it has been executed yet.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "artifact/manifest.h"
#include "artifact/mapped_file.h"
#include "artifact/requirements.h"
#include "artifact/zip_index.h"

namespace recpile {

// Immutable. Keeps the file mapped as long as it lives.
class Artifact {
 public:
  // Checks, in this order: the archive's directory, the manifest's checksum, the format version, the machine, that the
  // entries are those that the manifest lists with their sizes, and (unless told not to) their checksums.
  static Result<std::shared_ptr<const Artifact>> Open(const std::string& path, bool verify_checksums,
                                                      const Machine& machine);

  // As it was given, for messages.
  const std::string& path() const { return path_; }
  // For libraries that open the file themselves: what was verified, whatever now bears its name.
  std::string open_path() const { return file_->open_path(); }
  const Manifest& manifest() const { return manifest_; }
  // The whole mapped file: tables are found in it by offset.
  std::span<const std::byte> bytes() const { return file_->bytes(); }
  // As MappedFile.
  bool Read(size_t offset, std::span<std::byte> into) const { return file_->Read(offset, into); }
  void Forget(size_t begin, size_t end) const { file_->Forget(begin, end); }
  // Where a table's rows begin in bytes().
  size_t table_offset(const Table& table) const { return index_.find(table.file)->second.offset; }

 private:
  Artifact() = default;
  std::string path_;
  std::shared_ptr<const MappedFile> file_;
  ZipIndex index_;
  Manifest manifest_;
};

}  // namespace recpile
