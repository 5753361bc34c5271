#include "recording/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "recording/record.h"

namespace recpile::recording {
namespace {

Status Refused(const std::filesystem::path& path, const std::string& why) {
  return Status::InvalidArgument("--record: " + path.string() + " " + why);
}

bool WriteAll(int descriptor, std::string_view bytes, uint64_t at) {
  while (!bytes.empty()) {
    const ssize_t written = pwrite(descriptor, bytes.data(), bytes.size(), static_cast<off_t>(at));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(written));
    at += static_cast<uint64_t>(written);
  }
  return true;
}

bool ReadAll(int descriptor, char* into, size_t size, uint64_t at) {
  while (size > 0) {
    const ssize_t got = pread(descriptor, into, size, static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    into += got;
    size -= static_cast<size_t>(got);
    at += static_cast<uint64_t>(got);
  }
  return true;
}

// Where the last whole record ends: a process that was killed may have left a part of one behind it.
uint64_t EndOfRecords(int descriptor, uint64_t file_bytes) {
  uint64_t end = kFileHeader.size();
  std::array<char, kRecordHeaderBytes> header;
  while (ReadAll(descriptor, header.data(), header.size(), end)) {
    uint32_t size = 0;
    std::memcpy(&size, header.data(), sizeof(size));
    if (end + header.size() + size > file_bytes) break;
    end += header.size() + size;
  }
  return end;
}

}  // namespace

Result<RecordingFile> RecordingFile::Open(const std::filesystem::path& path, uint64_t max_bytes) {
  const int descriptor = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, S_IRUSR | S_IWUSR);
  if (descriptor < 0) return Refused(path, std::string("cannot be written: ") + std::strerror(errno));
  RecordingFile file(descriptor, 0, max_bytes);  // from here on it closes the descriptor
  if (flock(descriptor, LOCK_EX | LOCK_NB) != 0) return Refused(path, "is being written by another process");
  struct stat about = {};
  if (fstat(descriptor, &about) != 0 || !S_ISREG(about.st_mode)) return Refused(path, "is not a regular file");
  const auto there = static_cast<uint64_t>(about.st_size);
  if (there == 0) {
    if (!WriteAll(descriptor, kFileHeader, 0)) return Refused(path, "cannot be written: the disk may be full");
    file.bytes_ = kFileHeader.size();
    return file;
  }
  std::string header(kFileHeader.size(), '\0');
  if (!ReadAll(descriptor, header.data(), header.size(), 0) || header != kFileHeader) {
    return Refused(path, "is there, and is no recording of this version; give another name, or remove it");
  }
  file.bytes_ = EndOfRecords(descriptor, there);
  if (ftruncate(descriptor, static_cast<off_t>(file.bytes_)) != 0) return Refused(path, "cannot be written");
  return file;
}

RecordingFile::~RecordingFile() {
  if (descriptor_ >= 0) close(descriptor_);
}

RecordingFile::RecordingFile(RecordingFile&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), bytes_(other.bytes_), max_bytes_(other.max_bytes_) {}

Status RecordingFile::Append(std::string_view record) {
  if (bytes_ + record.size() > max_bytes_) {
    return Status::Unavailable("it has reached --record-max-bytes " + std::to_string(max_bytes_));
  }
  if (!WriteAll(descriptor_, record, bytes_)) {
    const std::string why = std::strerror(errno);
    // A reader skips half a record; the next recorder would too.
    if (ftruncate(descriptor_, static_cast<off_t>(bytes_)) != 0)
      return Status::Unavailable(why + "; half a record is left");
    return Status::Unavailable(why);
  }
  bytes_ += record.size();
  return Status();
}

}  // namespace recpile::recording
