#include "artifact/zip_index.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

// Layout: PKWARE's APPNOTE 6.3.10, sections 4.3.7 (local header), 4.3.12 (directory), 4.3.14 to 4.3.16 (its end).
namespace recpile {
namespace {

constexpr uint32_t kLocalSignature = 0x04034b50;
constexpr uint32_t kDirectorySignature = 0x02014b50;
constexpr uint32_t kEndSignature = 0x06054b50;
constexpr uint32_t kEnd64Signature = 0x06064b50;
constexpr uint32_t kEnd64LocatorSignature = 0x07064b50;
constexpr size_t kLocalBytes = 30;
constexpr size_t kDirectoryBytes = 46;
constexpr size_t kEndBytes = 22;
constexpr size_t kEnd64Bytes = 56;
constexpr size_t kEnd64LocatorBytes = 20;
constexpr uint32_t kMax32 = std::numeric_limits<uint32_t>::max();
constexpr uint16_t kMax16 = std::numeric_limits<uint16_t>::max();

using Bytes = std::span<const std::byte>;

// Little-endian, at any alignment. The caller has checked that the bytes are there.
template <typename T>
T Read(Bytes bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof(T));
  return value;
}

bool Holds(Bytes bytes, uint64_t at, uint64_t size) { return at <= bytes.size() && size <= bytes.size() - at; }

struct Directory {
  uint64_t entries;
  uint64_t bytes;
  uint64_t offset;
};

Status Truncated(const std::string& what) {
  return Status::InvalidArgument("the archive is truncated or not a zip archive: " + what);
}

Result<Directory> FindDirectory(Bytes archive) {
  if (archive.size() < kEndBytes) return Truncated("it has only " + std::to_string(archive.size()) + " bytes");
  // The end record is last, but for a comment of up to 64 KiB.
  const size_t last = archive.size() - kEndBytes;
  const size_t first = last - std::min<size_t>(last, kMax16);
  for (size_t at = last + 1; at-- > first;) {
    if (Read<uint32_t>(archive, at) != kEndSignature) continue;
    if (at + kEndBytes + Read<uint16_t>(archive, at + 20) != archive.size()) continue;
    Directory found{Read<uint16_t>(archive, at + 10), Read<uint32_t>(archive, at + 12),
                    Read<uint32_t>(archive, at + 16)};
    const bool is64 = found.entries == kMax16 || found.bytes == kMax32 || found.offset == kMax32;
    if (!is64) return found;
    if (at < kEnd64LocatorBytes || Read<uint32_t>(archive, at - kEnd64LocatorBytes) != kEnd64LocatorSignature) {
      return Truncated("no ZIP64 locator");
    }
    const auto end64 = Read<uint64_t>(archive, at - kEnd64LocatorBytes + 8);
    if (!Holds(archive, end64, kEnd64Bytes) || Read<uint32_t>(archive, end64) != kEnd64Signature) {
      return Truncated("no ZIP64 end of directory");
    }
    return Directory{Read<uint64_t>(archive, end64 + 32), Read<uint64_t>(archive, end64 + 40),
                     Read<uint64_t>(archive, end64 + 48)};
  }
  return Truncated("no end of directory");
}

bool IsSafeName(std::string_view name) {
  if (name.empty() || name.front() == '/' || name.find('\\') != name.npos || name.find('\0') != name.npos) return false;
  for (size_t start = 0; start <= name.size();) {
    const size_t end = std::min(name.find('/', start), name.size());
    const std::string_view part = name.substr(start, end - start);
    if (part == ".." || part == "." || part.empty()) return false;
    start = end + 1;
  }
  return true;
}

// Takes the 64-bit values of a ZIP64 extra field, in order, for those that do not fit 32 bits.
Status ReadZip64(Bytes extra, const std::string& name, uint64_t& size, uint64_t& stored, uint64_t& header) {
  for (size_t at = 0; at + 4 <= extra.size();) {
    const auto id = Read<uint16_t>(extra, at);
    const auto bytes = Read<uint16_t>(extra, at + 2);
    if (!Holds(extra, at + 4, bytes)) break;
    if (id == 1) {
      size_t next = at + 4;
      const size_t end = next + bytes;
      for (uint64_t* value : {&size, &stored, &header}) {
        if (*value != kMax32) continue;
        if (next + 8 > end) return Status::InvalidArgument("entry '" + name + "' has a broken ZIP64 field");
        *value = Read<uint64_t>(extra, next);
        next += 8;
      }
      return {};
    }
    at += 4 + bytes;
  }
  return Status::InvalidArgument("entry '" + name + "' lacks its ZIP64 field");
}

struct Listed {
  std::string name;  // with the root folder
  uint64_t size;
  uint64_t header;
  ZipEntry entry;
};

// Reads one directory record at `at` and moves `at` behind it.
Result<Listed> ReadRecord(Bytes archive, uint64_t& at, uint64_t end) {
  if (end - at < kDirectoryBytes || Read<uint32_t>(archive, at) != kDirectorySignature) {
    return Truncated("a directory record is missing");
  }
  const auto flags = Read<uint16_t>(archive, at + 8);
  const auto method = Read<uint16_t>(archive, at + 10);
  uint64_t stored = Read<uint32_t>(archive, at + 20);
  uint64_t size = Read<uint32_t>(archive, at + 24);
  const auto name_bytes = Read<uint16_t>(archive, at + 28);
  const auto extra_bytes = Read<uint16_t>(archive, at + 30);
  const auto comment_bytes = Read<uint16_t>(archive, at + 32);
  uint64_t header = Read<uint32_t>(archive, at + 42);
  if (end - at - kDirectoryBytes < uint64_t{name_bytes} + extra_bytes + comment_bytes) {
    return Truncated("a directory record is cut");
  }
  std::string name(reinterpret_cast<const char*>(archive.data()) + at + kDirectoryBytes, name_bytes);
  if (size == kMax32 || stored == kMax32 || header == kMax32) {
    const Bytes extra = archive.subspan(at + kDirectoryBytes + name_bytes, extra_bytes);
    RECPILE_RETURN_IF_ERROR(ReadZip64(extra, name, size, stored, header));
  }
  if (!IsSafeName(name)) return Status::InvalidArgument("entry '" + name + "' has an unsafe name");
  if (method != 0 || (flags & 1) != 0 || stored != size) {
    return Status::InvalidArgument("entry '" + name + "' is compressed or encrypted; an artifact's entries are stored");
  }
  at += kDirectoryBytes + name_bytes + extra_bytes + comment_bytes;
  return Listed{std::move(name), size, header, {}};
}

// The bytes begin behind the local header, whose extra field is its own: it pads for alignment.
Status Locate(Bytes archive, Listed& listed) {
  const std::string what = "entry '" + listed.name + "' lies beyond the archive's end";
  if (!Holds(archive, listed.header, kLocalBytes)) return Status::InvalidArgument(what);
  if (Read<uint32_t>(archive, listed.header) != kLocalSignature) {
    return Status::InvalidArgument("entry '" + listed.name + "' has no header where the directory says");
  }
  const uint64_t offset = listed.header + kLocalBytes + Read<uint16_t>(archive, listed.header + 26) +
                          Read<uint16_t>(archive, listed.header + 28);
  if (!Holds(archive, offset, listed.size)) return Status::InvalidArgument(what);
  listed.entry = {offset, listed.size};
  return {};
}

}  // namespace

Result<ZipIndex> ReadZipIndex(Bytes archive) {
  RECPILE_ASSIGN_OR_RETURN(const Directory directory, FindDirectory(archive));
  if (!Holds(archive, directory.offset, directory.bytes)) return Truncated("its directory lies beyond its end");
  const uint64_t end = directory.offset + directory.bytes;
  if (directory.entries > directory.bytes / kDirectoryBytes) return Truncated("its directory is too short");

  std::vector<Listed> all;
  all.reserve(directory.entries);
  uint64_t at = directory.offset;
  for (uint64_t i = 0; i < directory.entries; ++i) {
    RECPILE_ASSIGN_OR_RETURN(Listed listed, ReadRecord(archive, at, end));
    RECPILE_RETURN_IF_ERROR(Locate(archive, listed));
    all.push_back(std::move(listed));
  }

  std::sort(all.begin(), all.end(), [](const Listed& a, const Listed& b) { return a.header < b.header; });
  ZipIndex index;
  for (size_t i = 0; i < all.size(); ++i) {
    const uint64_t next = i + 1 < all.size() ? all[i + 1].header : directory.offset;
    if (all[i].entry.offset + all[i].entry.size > next) {
      return Status::InvalidArgument("entry '" + all[i].name + "' overlaps what follows it");
    }
    const size_t root = all[i].name.find('/');
    std::string name = root == std::string::npos ? all[i].name : all[i].name.substr(root + 1);
    if (!index.emplace(name, all[i].entry).second) {
      return Status::InvalidArgument("entry '" + name + "' appears twice");
    }
  }
  return index;
}

}  // namespace recpile
