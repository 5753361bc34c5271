#include "artifact/artifact.h"

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <string_view>
#include <thread>
#include <vector>

#include "base/cores.h"

namespace recpile {
namespace {

constexpr std::string_view kManifest = "extra/recpile/manifest.json";
constexpr std::string_view kManifestSum = "extra/recpile/manifest.xxh3";
// Written by torch's archive writer after the manifest: the only entries without a checksum. None of them is used here.
constexpr std::array<std::string_view, 5> kWriterEntries = {"archive_format", "archive_version", "byteorder",
                                                            ".data/version", ".data/serialization_id"};

std::string Xxh3Hex(std::span<const std::byte> bytes) {
  const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  char text[33];
  std::snprintf(text, sizeof(text), "%016llx%016llx", static_cast<unsigned long long>(hash.high64),
                static_cast<unsigned long long>(hash.low64));
  return text;
}

std::string_view AsText(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Result<std::string_view> VerifiedManifest(const ZipIndex& index, std::span<const std::byte> file) {
  const auto manifest = index.find(kManifest);
  const auto sum = index.find(kManifestSum);
  if (manifest == index.end() || sum == index.end()) {
    return Status::InvalidArgument("it has no '" + std::string(kManifest) + "': it is not a recpile artifact");
  }
  const auto bytes = file.subspan(manifest->second.offset, manifest->second.size);
  if (AsText(file.subspan(sum->second.offset, sum->second.size)) != Xxh3Hex(bytes)) {
    return Status::InvalidArgument("its manifest does not match its checksum: the file was altered");
  }
  return AsText(bytes);
}

Status CheckFiles(const Manifest& manifest, const ZipIndex& index) {
  for (const auto& [name, entry] : index) {
    const bool own = name == kManifest || name == kManifestSum ||
                     std::find(kWriterEntries.begin(), kWriterEntries.end(), name) != kWriterEntries.end();
    if (!own && !manifest.files.contains(name)) {
      return Status::InvalidArgument("it holds entry '" + name + "', which its manifest does not list");
    }
  }
  for (const auto& [name, wanted] : manifest.files) {
    const auto entry = index.find(name);
    if (entry == index.end()) return Status::InvalidArgument("it lacks entry '" + name + "'");
    if (entry->second.size != wanted.bytes) {
      return Status::InvalidArgument("its entry '" + name + "' has " + std::to_string(entry->second.size) +
                                     " bytes; the manifest says " + std::to_string(wanted.bytes));
    }
  }
  return {};
}

// On all cores, the largest entries first: tables are what takes time.
Status CheckSums(const Manifest& manifest, const ZipIndex& index, std::span<const std::byte> file) {
  using File = std::pair<const std::string, FileSpec>;
  std::vector<const File*> files;
  for (const File& one : manifest.files) files.push_back(&one);
  std::stable_sort(files.begin(), files.end(),
                   [](const File* a, const File* b) { return a->second.bytes > b->second.bytes; });
  std::atomic<size_t> next = 0;
  std::atomic<const File*> wrong = nullptr;
  const auto check = [&] {
    for (size_t i = next++; i < files.size() && wrong == nullptr; i = next++) {
      const ZipEntry& entry = index.find(files[i]->first)->second;
      if (Xxh3Hex(file.subspan(entry.offset, entry.size)) != files[i]->second.xxh3) wrong = files[i];
    }
  };
  {
    std::vector<std::jthread> threads;  // joins at the end
    for (int i = 1; i < AvailableCores(); ++i) threads.emplace_back(check);
    check();
  }
  if (wrong == nullptr) return {};
  return Status::InvalidArgument("its entry '" + wrong.load()->first +
                                 "' does not match its checksum: the file was altered or damaged");
}

}  // namespace

Result<std::shared_ptr<const Artifact>> Artifact::Open(const std::string& path, bool verify_checksums,
                                                       const Machine& machine) {
  const auto named = [&](const Status& status) { return Status(status.code(), path + ": " + status.message()); };
  std::shared_ptr<Artifact> artifact(new Artifact);
  artifact->path_ = path;
  RECPILE_ASSIGN_OR_RETURN(artifact->file_, MappedFile::Open(path));
  const auto bytes = artifact->bytes();
  auto index = ReadZipIndex(bytes);
  if (!index.ok()) return named(index.status());
  artifact->index_ = std::move(index).value();
  const auto text = VerifiedManifest(artifact->index_, bytes);
  if (!text.ok()) return named(text.status());
  auto manifest = ParseManifest(text.value());
  if (!manifest.ok()) return named(manifest.status());
  artifact->manifest_ = std::move(manifest).value();
  if (Status fits = CheckRequirements(artifact->manifest_.requires_, machine); !fits.ok()) return named(fits);
  if (Status files = CheckFiles(artifact->manifest_, artifact->index_); !files.ok()) return named(files);
  if (verify_checksums) {
    if (Status sums = CheckSums(artifact->manifest_, artifact->index_, bytes); !sums.ok()) return named(sums);
  }
  return std::shared_ptr<const Artifact>(std::move(artifact));
}

}  // namespace recpile
