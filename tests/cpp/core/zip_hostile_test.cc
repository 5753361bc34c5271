// Archives that are damaged or made to deceive: each is refused, and none makes the reader leave its bytes.
#include <gtest/gtest.h>

#include <limits>
#include <random>

#include "artifact/zip_index.h"
#include "zip_builder.h"

namespace recpile {
namespace {

using testing::BuildZip;
using testing::ZipMember;

constexpr uint64_t kHuge = std::numeric_limits<uint64_t>::max();

// Why an archive is refused; empty if it is not.
std::string Refusal(const std::vector<std::byte>& archive) {
  const auto index = ReadZipIndex(archive);
  if (index.ok()) return "";
  EXPECT_EQ(index.status().code(), StatusCode::kInvalidArgument);
  return index.status().message();
}

const char kTruncated[] = "the archive is truncated or not a zip archive: ";

// A small archive in which everything occurs that the reader knows.
std::vector<std::byte> Varied(bool zip64_end) {
  return BuildZip({{"m/padded", "abc", 9},
                   {.name = "m/wide", .data = "defgh", .zip64 = true},
                   {.name = "m/late", .data = "ijk", .flags = 8},
                   {"m/empty", ""}},
                  {.zip64 = zip64_end});
}

TEST(HostileZip, EmptyFileIsRefused) { EXPECT_EQ(Refusal({}), std::string(kTruncated) + "it has only 0 bytes"); }

TEST(HostileZip, TruncatedAtEveryByteIsRefused) {
  for (const bool zip64 : {false, true}) {
    const auto whole = Varied(zip64);
    ASSERT_EQ(Refusal(whole), "");
    for (size_t size = 0; size < whole.size(); ++size) {
      // A vector of its own, so that a sanitizer sees a read beyond the end.
      EXPECT_NE(Refusal({whole.begin(), whole.begin() + static_cast<ptrdiff_t>(size)}), "") << size << " bytes";
    }
  }
}

TEST(HostileZip, MissingFrontIsRefused) {
  const auto whole = Varied(false);
  for (size_t cut = 1; cut < whole.size(); ++cut) {
    EXPECT_NE(Refusal({whole.begin() + static_cast<ptrdiff_t>(cut), whole.end()}), "") << "without " << cut << " bytes";
  }
}

TEST(HostileZip, CompressedOrEncryptedEntryIsRefused) {
  const std::string wanted = "entry 'm/a' is compressed or encrypted; an artifact's entries are stored";
  EXPECT_EQ(Refusal(BuildZip({{.name = "m/a", .data = "1", .method = 8}})), wanted);
  EXPECT_EQ(Refusal(BuildZip({{.name = "m/a", .data = "1", .flags = 1}})), wanted);
  EXPECT_EQ(Refusal(BuildZip({{.name = "m/a", .data = "1", .size = 2, .stored = 1}})), wanted);
}

TEST(HostileZip, OffsetBeyondTheEndIsRefused) {
  const std::string wanted = "entry 'm/a' lies beyond the archive's end";
  EXPECT_EQ(Refusal(BuildZip({{.name = "m/a", .data = "1", .header = 100000}})), wanted);
  for (const uint64_t header : {kHuge, kHuge - 29, kHuge - 60}) {
    EXPECT_EQ(Refusal(BuildZip({{.name = "m/a", .data = "1", .zip64 = true, .header = header}})), wanted);
  }
}

TEST(HostileZip, OffsetOfSomethingElseIsRefused) {
  EXPECT_EQ(Refusal(BuildZip({{.name = "m/a", .data = "1", .header = 1}})),
            "entry 'm/a' has no header where the directory says");
}

TEST(HostileZip, SizeBeyondTheEndIsRefused) {
  const std::string wanted = "entry 'm/a' lies beyond the archive's end";
  EXPECT_EQ(Refusal(BuildZip({{.name = "m/a", .data = "1", .size = 100000}})), wanted);
  for (const uint64_t size : {kHuge, kHuge - 34, uint64_t{1} << 63}) {
    EXPECT_EQ(Refusal(BuildZip({{.name = "m/a", .data = "1", .zip64 = true, .size = size}})), wanted);
  }
}

TEST(HostileZip, OverlappingEntriesAreRefused) {
  // "a" reaches into the local header of "b".
  EXPECT_EQ(Refusal(BuildZip({{.name = "m/a", .data = "1", .size = 2}, {"m/b", "2"}})),
            "entry 'm/a' overlaps what follows it");
  // Both have the same bytes.
  EXPECT_NE(Refusal(BuildZip({{"m/a", "1"}, {.name = "m/b", .data = "2", .header = 0}})).find("overlaps"),
            std::string::npos);
}

TEST(HostileZip, EntryThatReachesIntoTheDirectoryIsRefused) {
  EXPECT_EQ(Refusal(BuildZip({{.name = "m/a", .data = "1", .size = 2}})), "entry 'm/a' overlaps what follows it");
}

TEST(HostileZip, RepeatedNameIsRefused) {
  EXPECT_EQ(Refusal(BuildZip({{"m/a", "1"}, {"m/a", "2"}})), "entry 'a' appears twice");
  // Without their root folders these are one.
  EXPECT_EQ(Refusal(BuildZip({{"m/a", "1"}, {"n/a", "2"}})), "entry 'a' appears twice");
}

TEST(HostileZip, NameThatWouldLeaveItsFolderIsRefused) {
  for (const std::string& name : {std::string("../x"), std::string("/x"), std::string("a//b"), std::string("a\\b"),
                                  std::string("a\0b", 3), std::string(""), std::string("a/.."), std::string("a/../b"),
                                  std::string("./a"), std::string("a/./b"), std::string("a/"), std::string("..")}) {
    EXPECT_EQ(Refusal(BuildZip({{name, "1"}})), "entry '" + name + "' has an unsafe name");
  }
}

TEST(HostileZip, BrokenZip64FieldIsRefused) {
  const auto with = [](std::string extra) {
    return BuildZip({{.name = "m/a", .data = "1", .zip64 = true, .extra = extra}});
  };
  EXPECT_EQ(Refusal(with("")), "entry 'm/a' lacks its ZIP64 field");
  EXPECT_EQ(Refusal(with(std::string("\x01\x00", 2))), "entry 'm/a' lacks its ZIP64 field");
  // It says 24 bytes and has none; it has 16 of 24; it is empty.
  EXPECT_EQ(Refusal(with(std::string("\x01\x00\x18\x00", 4))), "entry 'm/a' lacks its ZIP64 field");
  EXPECT_EQ(Refusal(with(std::string("\x01\x00\x10\x00", 4) + std::string(16, '\0'))),
            "entry 'm/a' has a broken ZIP64 field");
  EXPECT_EQ(Refusal(with(std::string("\x01\x00\x00\x00", 4))), "entry 'm/a' has a broken ZIP64 field");
  // Another field that reaches beyond the extra data hides whatever follows it.
  EXPECT_EQ(Refusal(with(std::string("\x55\x54\xff\xff", 4) + std::string(24, '\0'))),
            "entry 'm/a' lacks its ZIP64 field");
}

TEST(HostileZip, DirectoryBeyondTheEndIsRefused) {
  const std::vector<ZipMember> one = {{"m/a", "1"}};
  const std::string wanted = std::string(kTruncated) + "its directory lies beyond its end";
  EXPECT_EQ(Refusal(BuildZip(one, {.offset = 100000})), wanted);
  EXPECT_EQ(Refusal(BuildZip(one, {.bytes = 100000})), wanted);
  EXPECT_EQ(Refusal(BuildZip(one, {.zip64 = true, .offset = kHuge})), wanted);
  EXPECT_EQ(Refusal(BuildZip(one, {.zip64 = true, .bytes = kHuge})), wanted);
}

TEST(HostileZip, DirectoryWithFewerRecordsThanItSaysIsRefused) {
  const std::vector<ZipMember> one = {{"m/a", "1"}};
  const std::string wanted = std::string(kTruncated) + "its directory is too short";
  EXPECT_EQ(Refusal(BuildZip(one, {.entries = 2})), wanted);
  // No memory is set aside for what cannot be there.
  EXPECT_EQ(Refusal(BuildZip(one, {.zip64 = true, .entries = kHuge})), wanted);
  EXPECT_EQ(Refusal(BuildZip(one, {.bytes = 46})), std::string(kTruncated) + "a directory record is cut");
  // A record takes 49 bytes here, so that the second one ends within its fixed part.
  EXPECT_EQ(Refusal(BuildZip({{"m/a", "1"}, {"m/b", "2"}}, {.bytes = 92})),
            std::string(kTruncated) + "a directory record is missing");
  EXPECT_EQ(Refusal(BuildZip(one, {.offset = 1})), std::string(kTruncated) + "a directory record is missing");
}

TEST(HostileZip, Zip64EndThatIsNotThereIsRefused) {
  const std::string wanted = std::string(kTruncated) + "no ZIP64 end of directory";
  for (const uint64_t at : {uint64_t{0}, uint64_t{100000}, kHuge, kHuge - 55}) {
    EXPECT_EQ(Refusal(BuildZip({{"m/a", "1"}}, {.zip64 = true, .end64_at = at})), wanted);
  }
  EXPECT_EQ(Refusal(BuildZip({{"m/a", "1"}}, {.entries = 0xffff})), std::string(kTruncated) + "no ZIP64 locator");
}

// Whatever else is in an index, its entries lie inside the archive.
void ExpectInside(const std::vector<std::byte>& archive) {
  const auto index = ReadZipIndex(archive);
  if (!index.ok()) return;
  for (const auto& [name, entry] : index.value()) {
    ASSERT_LE(entry.offset, archive.size()) << name;
    ASSERT_LE(entry.size, archive.size() - entry.offset) << name;
  }
}

TEST(HostileZip, RandomByteFlipsNeverLeadOutside) {
  std::mt19937 random(20240607);
  for (int round = 0; round < 20000; ++round) {
    auto archive = Varied(round % 2 == 1);
    const auto flips = 1 + random() % 4;
    for (size_t i = 0; i < flips; ++i) archive[random() % archive.size()] = static_cast<std::byte>(random());
    ASSERT_NO_FATAL_FAILURE(ExpectInside(archive)) << "round " << round;
  }
}

TEST(HostileZip, RandomExtremesInTheDirectoryNeverLeadOutside) {
  // Runs of 0x00 and 0xff over offsets, sizes and lengths are what a flip of single bytes rarely makes.
  std::mt19937 random(7);
  for (int round = 0; round < 20000; ++round) {
    auto archive = Varied(round % 2 == 1);
    const size_t at = random() % archive.size();
    const size_t size = std::min<size_t>(1 + random() % 8, archive.size() - at);
    std::fill_n(archive.begin() + static_cast<ptrdiff_t>(at), size,
                static_cast<std::byte>(random() % 2 == 0 ? 0 : 0xff));
    ASSERT_NO_FATAL_FAILURE(ExpectInside(archive)) << "round " << round;
  }
}

TEST(HostileZip, RandomBytesAreRefused) {
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    std::vector<std::byte> noise(random() % 300);
    for (std::byte& byte : noise) byte = static_cast<std::byte>(random());
    EXPECT_NE(Refusal(noise), "");
  }
}

}  // namespace
}  // namespace recpile
