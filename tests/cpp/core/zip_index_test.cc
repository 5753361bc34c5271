// Archives that are as they should be, in all the ways that writers write them. zip_hostile_test.cc has the others.
#include "artifact/zip_index.h"

#include <gtest/gtest.h>

#include "zip_builder.h"

namespace recpile {
namespace {

using testing::BuildZip;

// What the index says that an entry holds.
std::string Content(const std::vector<std::byte>& archive, const ZipIndex& index, const std::string& name) {
  const auto found = index.find(name);
  if (found == index.end()) return "no entry " + name;
  return {reinterpret_cast<const char*>(archive.data()) + found->second.offset, found->second.size};
}

// The content of entry `name`, or why there is no index.
std::string Read(const std::vector<std::byte>& archive, const std::string& name) {
  const auto index = ReadZipIndex(archive);
  return index.ok() ? Content(archive, index.value(), name) : index.status().message();
}

std::vector<std::string> Names(const std::vector<std::byte>& archive) {
  std::vector<std::string> names;
  const auto index = ReadZipIndex(archive);
  if (!index.ok()) return {index.status().message()};
  for (const auto& [name, entry] : index.value()) names.push_back(name);
  return names;
}

TEST(ZipIndex, FindsEntriesBehindPaddedLocalHeaders) {
  const auto archive = BuildZip({{"m/one", "1", 25}, {"m/two", "22"}, {"m/three", "333", 64}});
  EXPECT_EQ(Read(archive, "one"), "1");
  EXPECT_EQ(Read(archive, "two"), "22");
  EXPECT_EQ(Read(archive, "three"), "333");
  EXPECT_EQ(Names(archive).size(), 3u);
}

TEST(ZipIndex, SaysWhereTheBytesBegin) {
  const auto index = ReadZipIndex(BuildZip({{"m/one", "1", 29}}));
  ASSERT_TRUE(index.ok()) << index.status().message();
  EXPECT_EQ(index.value().find("one")->second.offset, 64u);  // 30 of the header, 5 of the name, 29 of padding
  EXPECT_EQ(index.value().find("one")->second.size, 1u);
}

TEST(ZipIndex, StripsTheRootFolderAndOnlyThat) {
  const auto archive =
      BuildZip({{"dlrm/data/weights/w0", "w"}, {"dlrm/.data/version", "6"}, {"dlrm/byteorder", "little"}});
  EXPECT_EQ(Names(archive), (std::vector<std::string>{".data/version", "byteorder", "data/weights/w0"}));
}

TEST(ZipIndex, EntryOutsideAnyFolderKeepsItsName) {
  EXPECT_EQ(Names(BuildZip({{"alone", "1"}})), std::vector<std::string>{"alone"});
}

TEST(ZipIndex, DotsInsideANameAreHarmless) {
  EXPECT_EQ(Names(BuildZip({{"m/..x/y..z/...", "1"}})), std::vector<std::string>{"..x/y..z/..."});
}

TEST(ZipIndex, EmptyEntriesAreEntries) {
  const auto archive = BuildZip({{"m/none", ""}, {"m/also_none", ""}, {"m/one", "1"}});
  EXPECT_EQ(Read(archive, "none"), "");
  EXPECT_EQ(Read(archive, "also_none"), "");
  EXPECT_EQ(Read(archive, "one"), "1");
}

TEST(ZipIndex, ArchiveWithoutEntriesIsAnEmptyIndex) { EXPECT_EQ(Names(BuildZip({})), std::vector<std::string>{}); }

TEST(ZipIndex, OrderInTheDirectoryNeedNotBeTheOrderInTheFile) {
  // The directory swaps the two: "a" lies behind "b".
  const auto archive =
      BuildZip({{.name = "m/a", .data = "B", .header = 34}, {.name = "m/b", .data = "A", .header = 0}});
  EXPECT_EQ(Read(archive, "a"), "A");
  EXPECT_EQ(Read(archive, "b"), "B");
}

TEST(ZipIndex, DataDescriptorsAreSkipped) {
  const auto archive =
      BuildZip({{.name = "m/a", .data = "first", .flags = 8}, {.name = "m/b", .data = "second", .flags = 8}});
  EXPECT_EQ(Read(archive, "a"), "first");
  EXPECT_EQ(Read(archive, "b"), "second");
}

TEST(ZipIndex, CommentAtTheEndIsSkipped) {
  EXPECT_EQ(Read(BuildZip({{"m/a", "1"}}, {.comment = "made by hand"}), "a"), "1");
  EXPECT_EQ(Read(BuildZip({{"m/a", "1"}}, {.comment = std::string(65535, 'x')}), "a"), "1");
}

TEST(ZipIndex, CommentThatLooksLikeAnEndRecordIsStillAComment) {
  // Its own comment length, 0x7a7a, does not reach the end of the file.
  EXPECT_EQ(Read(BuildZip({{"m/a", "1"}}, {.comment = "PK\x05\x06" + std::string(30, 'z')}), "a"), "1");
}

TEST(ZipIndex, Zip64SizesAndOffsetsAreRead) {
  const auto archive =
      BuildZip({{.name = "m/a", .data = "1", .zip64 = true}, {.name = "m/b", .data = "22", .zip64 = true}});
  EXPECT_EQ(Read(archive, "a"), "1");
  EXPECT_EQ(Read(archive, "b"), "22");
}

TEST(ZipIndex, Zip64FieldIsFoundBehindOthers) {
  const std::string other(
      "\x55\x54\x03\x00"
      "abc",
      7);
  const std::string sizes("\x01\x00\x18\x00\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 28);
  EXPECT_EQ(Read(BuildZip({{.name = "m/a", .data = "1", .zip64 = true, .extra = other + sizes}}), "a"), "1");
}

TEST(ZipIndex, Zip64EndOfDirectoryIsRead) {
  EXPECT_EQ(Read(BuildZip({{"m/a", "1"}}, {.zip64 = true}), "a"), "1");
  EXPECT_EQ(Read(BuildZip({{"m/a", "1"}}, {.comment = "with a comment", .zip64 = true}), "a"), "1");
}

}  // namespace
}  // namespace recpile
