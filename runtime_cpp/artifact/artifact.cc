#include "artifact/artifact.h"

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <string_view>

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

Status CheckFiles(const Manifest& manifest, const ZipIndex& index, std::span<const std::byte> file, bool checksums) {
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
    if (checksums && Xxh3Hex(file.subspan(entry->second.offset, entry->second.size)) != wanted.xxh3) {
      return Status::InvalidArgument("its entry '" + name +
                                     "' does not match its checksum: the file was altered or damaged");
    }
  }
  return {};
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
  if (Status files = CheckFiles(artifact->manifest_, artifact->index_, bytes, verify_checksums); !files.ok()) {
    return named(files);
  }
  return std::shared_ptr<const Artifact>(std::move(artifact));
}

}  // namespace recpile
