// Writes small zip archives in memory, honest ones and others.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

namespace recpile::testing {

struct ZipMember {
  std::string name;
  std::string data;
  // Zero bytes in the local header's extra field, as a writer adds them to align what follows.
  uint16_t padding = 0;
  // Sizes and offset go into a ZIP64 field; their 32-bit places hold 0xffffffff.
  bool zip64 = false;
  // Bit 3: the local header has no sizes; they follow the data.
  uint16_t flags = 0;
  uint16_t method = 0;
  // What the directory says instead of the truth.
  std::optional<uint64_t> size = {};    // before compression
  std::optional<uint64_t> stored = {};  // after it
  std::optional<uint64_t> header = {};  // where the local header begins
  std::optional<std::string> extra = {};
};

struct ZipEnd {
  std::string comment = {};
  bool zip64 = false;
  // What the end record says instead of the truth.
  std::optional<uint64_t> entries = {};
  std::optional<uint64_t> bytes = {};
  std::optional<uint64_t> offset = {};
  std::optional<uint64_t> end64_at = {};
};

class ZipBuilder {
 public:
  void Add(const ZipMember& member) {
    const uint64_t header = bytes_.size();
    const bool descriptor = (member.flags & 8) != 0;
    const auto size = static_cast<uint32_t>(descriptor ? 0 : member.data.size());
    Put<uint32_t>(bytes_, 0x04034b50);
    Put<uint16_t>(bytes_, member.zip64 ? 45 : 20);
    Put<uint16_t>(bytes_, member.flags);
    Put<uint16_t>(bytes_, member.method);
    Put<uint32_t>(bytes_, 0);  // time and date
    Put<uint32_t>(bytes_, 0);  // CRC-32: artifacts have better checksums, so nobody reads it
    Put<uint32_t>(bytes_, size);
    Put<uint32_t>(bytes_, size);
    Put(bytes_, static_cast<uint16_t>(member.name.size()));
    Put(bytes_, member.padding);
    bytes_ += member.name + std::string(member.padding, '\0') + member.data;
    if (descriptor) {
      Put<uint32_t>(bytes_, 0x08074b50);
      Put<uint32_t>(bytes_, 0);
      Put(bytes_, static_cast<uint32_t>(member.data.size()));
      Put(bytes_, static_cast<uint32_t>(member.data.size()));
    }
    List(member, header);
    ++entries_;
  }

  std::vector<std::byte> Finish(const ZipEnd& end = {}) const {
    std::string archive = bytes_;
    const uint64_t entries = end.entries.value_or(entries_);
    const uint64_t bytes = end.bytes.value_or(directory_.size());
    const uint64_t offset = end.offset.value_or(archive.size());
    archive += directory_;
    if (end.zip64) {
      const uint64_t end64_at = end.end64_at.value_or(archive.size());
      Put<uint32_t>(archive, 0x06064b50);
      Put<uint64_t>(archive, 44);
      Put<uint32_t>(archive, 45 | 45 << 16);  // versions
      Put<uint64_t>(archive, 0);              // disks
      Put(archive, entries);
      Put(archive, entries);
      Put(archive, bytes);
      Put(archive, offset);
      Put<uint32_t>(archive, 0x07064b50);
      Put<uint32_t>(archive, 0);
      Put(archive, end64_at);
      Put<uint32_t>(archive, 1);
    }
    Put<uint32_t>(archive, 0x06054b50);
    Put<uint32_t>(archive, 0);  // disks
    Put(archive, static_cast<uint16_t>(end.zip64 ? 0xffff : entries));
    Put(archive, static_cast<uint16_t>(end.zip64 ? 0xffff : entries));
    Put(archive, static_cast<uint32_t>(end.zip64 ? 0xffffffff : bytes));
    Put(archive, static_cast<uint32_t>(end.zip64 ? 0xffffffff : offset));
    Put(archive, static_cast<uint16_t>(end.comment.size()));
    archive += end.comment;
    // Exactly as long as the archive, so that a sanitizer sees a read beyond it.
    std::vector<std::byte> answer(archive.size());
    std::memcpy(answer.data(), archive.data(), archive.size());
    return answer;
  }

 private:
  template <typename T>
  static void Put(std::string& to, T value) {
    to.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }

  void List(const ZipMember& member, uint64_t true_header) {
    const uint64_t size = member.size.value_or(member.data.size());
    const uint64_t stored = member.stored.value_or(size);
    const uint64_t header = member.header.value_or(true_header);
    std::string extra;
    if (member.zip64) {
      Put<uint16_t>(extra, 1);
      Put<uint16_t>(extra, 24);
      Put(extra, size);
      Put(extra, stored);
      Put(extra, header);
    }
    if (member.extra) extra = *member.extra;
    const auto in32 = [&](uint64_t value) { return static_cast<uint32_t>(member.zip64 ? 0xffffffff : value); };
    Put<uint32_t>(directory_, 0x02014b50);
    Put<uint32_t>(directory_, 20 | 20 << 16);  // versions
    Put(directory_, member.flags);
    Put(directory_, member.method);
    Put<uint64_t>(directory_, 0);  // time, date and CRC-32
    Put(directory_, in32(stored));
    Put(directory_, in32(size));
    Put(directory_, static_cast<uint16_t>(member.name.size()));
    Put(directory_, static_cast<uint16_t>(extra.size()));
    Put<uint16_t>(directory_, 0);  // comment
    Put<uint64_t>(directory_, 0);  // disk and attributes
    Put(directory_, in32(header));
    directory_ += member.name + extra;
  }

  std::string bytes_;
  std::string directory_;
  uint64_t entries_ = 0;
};

inline std::vector<std::byte> BuildZip(const std::vector<ZipMember>& members, const ZipEnd& end = {}) {
  ZipBuilder builder;
  for (const ZipMember& member : members) builder.Add(member);
  return builder.Finish(end);
}

}  // namespace recpile::testing
