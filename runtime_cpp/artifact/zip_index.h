// The directory of a zip archive whose entries are stored, read without trusting it.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>

#include "recpile/status.h"

namespace recpile {

// Where an entry's bytes lie in the archive.
struct ZipEntry {
  size_t offset = 0;
  size_t size = 0;
};

// By name, without the archive's root folder.
using ZipIndex = std::map<std::string, ZipEntry, std::less<>>;

// Reads the central directory (with ZIP64). Refuses, naming the entry: compressed or encrypted entries, sizes or
// offsets beyond the archive, entries that overlap, names that repeat or that would leave a folder they are unpacked
// in.
Result<ZipIndex> ReadZipIndex(std::span<const std::byte> archive);

}  // namespace recpile
