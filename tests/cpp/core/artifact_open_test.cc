// Artifact::Open on files: one corruption for each check, and the order in which they are made.
#include <gtest/gtest.h>
#include <xxhash.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <random>

#include "artifact/artifact.h"
#include "temporary_folder.h"
#include "toy_model.h"
#include "zip_builder.h"

namespace recpile {
namespace {

namespace fs = std::filesystem;
using testing::BuildZip;
using testing::kToyManifest;
using testing::Replaced;
using testing::ZipMember;

const Machine kHere = {"2.13", "1.8", "x86_64", {"avx2", "fma"}};

std::string Sum(const std::string& bytes) {
  const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  char text[33];
  std::snprintf(text, sizeof(text), "%016llx%016llx", static_cast<unsigned long long>(hash.high64),
                static_cast<unsigned long long>(hash.low64));
  return text;
}

class ArtifactOpen : public ::testing::Test {
 protected:
  void SetUp() override {
    tables_ = {std::string(160, 'a'), std::string(80, 'b'), std::string(1200, 'c')};
    manifest_ = Replaced(kToyManifest, std::string(32, '0'), Sum(tables_[0]));
    manifest_ = Replaced(manifest_, std::string(32, '1'), Sum(tables_[1]));
    manifest_ = Replaced(manifest_, std::string(32, '2'), Sum(tables_[2]));
  }

  // An artifact of manifest_ and tables_, as the writer lays it out.
  std::vector<ZipMember> Members() const {
    std::vector<ZipMember> members;
    for (size_t i = 0; i < tables_.size(); ++i) {
      members.push_back({"toy/data/recpile/tables/" + std::to_string(i), tables_[i], static_cast<uint16_t>(8 * i)});
    }
    members.push_back({"toy/extra/recpile/manifest.json", manifest_});
    members.push_back({"toy/extra/recpile/manifest.xxh3", Sum(manifest_)});
    members.push_back({"toy/.data/version", "6"});
    members.push_back({"toy/byteorder", "little"});
    return members;
  }

  std::string Write(const std::vector<std::byte>& bytes) {
    const std::string path = dir_ / "toy.pt2";
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    return path;
  }

  // Why the file is refused, without its path; empty if it is not.
  static std::string Refusal(const std::string& path, bool checksums = true) {
    const auto opened = Artifact::Open(path, checksums, kHere);
    if (opened.ok()) return "";
    const std::string message = opened.status().message();
    const size_t at = message.find(path);
    EXPECT_NE(at, std::string::npos) << message;
    return at == 0 ? message.substr(path.size() + 2) : message;
  }
  std::string Refusal(const std::vector<ZipMember>& members, bool checksums = true) {
    return Refusal(Write(BuildZip(members)), checksums);
  }

  const testing::TemporaryFolder folder_;
  const fs::path& dir_ = folder_.path();
  std::string manifest_;
  std::vector<std::string> tables_;
};

TEST_F(ArtifactOpen, WholeArtifactOpensAndItsTablesAreWhereTheyLie) {
  const auto opened = Artifact::Open(Write(BuildZip(Members())), true, kHere);
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  const Artifact& artifact = *opened.value();
  EXPECT_EQ(artifact.manifest().name, "toy");
  for (const Table& table : artifact.manifest().tables) {
    const auto bytes =
        artifact.bytes().subspan(artifact.table_offset(table), static_cast<size_t>(table.rows * table.row_bytes));
    const char letter = table.name == "colors" ? 'a' : table.name == "sizes" ? 'b' : 'c';
    EXPECT_TRUE(std::ranges::all_of(bytes, [&](std::byte b) { return static_cast<char>(b) == letter; })) << table.name;
  }
}

TEST_F(ArtifactOpen, MissingFileIsNotFound) {
  const auto opened = Artifact::Open(dir_ / "none.pt2", true, kHere);
  EXPECT_EQ(opened.status().code(), StatusCode::kNotFound);
  EXPECT_EQ(opened.status().message(), "no artifact at " + (dir_ / "none.pt2").string());
}

TEST_F(ArtifactOpen, FolderIsRefused) {
  EXPECT_EQ(Artifact::Open(dir_, true, kHere).status().message(), dir_.string() + " is not a file");
}

TEST_F(ArtifactOpen, EmptyFileIsRefused) {
  const std::string path = Write({});
  EXPECT_EQ(Artifact::Open(path, true, kHere).status().message(), path + " is empty");
}

TEST_F(ArtifactOpen, RandomBytesAreRefused) {
  std::mt19937 random(5);
  std::vector<std::byte> noise(4096);
  for (std::byte& byte : noise) byte = static_cast<std::byte>(random());
  EXPECT_EQ(Refusal(Write(noise)), "the archive is truncated or not a zip archive: no end of directory");
}

TEST_F(ArtifactOpen, ArchiveOfSomethingElseIsRefused) {
  EXPECT_EQ(Refusal({{"model/data/weights", "1"}}),
            "it has no 'extra/recpile/manifest.json': it is not a recpile artifact");
}

TEST_F(ArtifactOpen, AlteredManifestIsRefused) {
  auto members = Members();
  members[3].data = Replaced(manifest_, R"("version": "7")", R"("version": "8")");
  EXPECT_EQ(Refusal(members), "its manifest does not match its checksum: the file was altered");
  EXPECT_EQ(Refusal(members, /*checksums=*/false), "its manifest does not match its checksum: the file was altered");
}

TEST_F(ArtifactOpen, MalformedManifestIsRefused) {
  manifest_ = Replaced(manifest_, R"("rows": 10,)", R"("rows": 0,)");
  EXPECT_EQ(Refusal(Members()), "the manifest is malformed: table 'colors' is empty");
}

TEST_F(ArtifactOpen, OtherMachineIsRefusedBeforeAnyFileIsLookedAt) {
  manifest_ = Replaced(manifest_, R"("arch": "x86_64")", R"("arch": "aarch64")");
  tables_[0][0] = 'x';
  const auto opened = Artifact::Open(Write(BuildZip(Members())), true, kHere);
  EXPECT_EQ(opened.status().code(), StatusCode::kUnsupported);
  EXPECT_NE(opened.status().message().find("aarch64"), std::string::npos);
}

TEST_F(ArtifactOpen, AlteredTableIsRefusedUnlessToldNotToLook) {
  tables_[1][79] = 'x';
  EXPECT_EQ(Refusal(Members()),
            "its entry 'data/recpile/tables/1' does not match its checksum: the file was altered or damaged");
  EXPECT_EQ(Refusal(Members(), /*checksums=*/false), "");
}

TEST_F(ArtifactOpen, TableOfAnotherSizeIsRefused) {
  tables_[1].pop_back();
  const std::string wanted = "its entry 'data/recpile/tables/1' has 79 bytes; the manifest says 80";
  EXPECT_EQ(Refusal(Members()), wanted);
  EXPECT_EQ(Refusal(Members(), /*checksums=*/false), wanted);
}

TEST_F(ArtifactOpen, LackingEntryIsRefused) {
  auto members = Members();
  members.erase(members.begin() + 2);
  EXPECT_EQ(Refusal(members), "it lacks entry 'data/recpile/tables/2'");
}

TEST_F(ArtifactOpen, EntryThatTheManifestDoesNotListIsRefused) {
  auto members = Members();
  members.push_back({"toy/data/aotinductor/dense/evil.so", "code"});
  EXPECT_EQ(Refusal(members), "it holds entry 'data/aotinductor/dense/evil.so', which its manifest does not list");
}

TEST_F(ArtifactOpen, TruncatedFileIsRefused) {
  const auto whole = BuildZip(Members());
  for (size_t size = 1; size < whole.size(); size += 97) {
    EXPECT_NE(Refusal(Write({whole.begin(), whole.begin() + static_cast<ptrdiff_t>(size)})), "") << size << " bytes";
  }
}

TEST_F(ArtifactOpen, MappingOutlivesTheFilesName) {
  const std::string path = Write(BuildZip(Members()));
  const auto opened = Artifact::Open(path, true, kHere);
  ASSERT_TRUE(opened.ok());
  fs::remove(path);
  const auto& artifact = *opened.value();
  EXPECT_EQ(static_cast<char>(artifact.bytes()[artifact.table_offset(artifact.manifest().tables[2])]), 'c');
}

}  // namespace
}  // namespace recpile
