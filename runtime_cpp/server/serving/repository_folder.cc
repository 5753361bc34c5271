#include "serving/repository_folder.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <system_error>

#include "kserve/request_json.h"
#include "serving/models.h"

namespace recpile::serving {
namespace {

namespace fs = std::filesystem;

constexpr char kSuffix[] = ".pt2";
constexpr char kFileOfVersion[] = "model.pt2";

bool IsVersion(const std::string& text) {
  return !text.empty() && text.front() != '0' && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

std::optional<std::string> StampOf(const fs::path& path) {
  struct stat found = {};
  if (stat(path.c_str(), &found) != 0 || !S_ISREG(found.st_mode)) return std::nullopt;
  return std::to_string(found.st_dev) + ":" + std::to_string(found.st_ino) + ":" + std::to_string(found.st_size) + ":" +
         std::to_string(found.st_mtim.tv_sec) + "." + std::to_string(found.st_mtim.tv_nsec);
}

// What an entry of a model's folder is, if it is a version at all.
std::optional<ArtifactFile> AsVersion(const fs::path& entry) {
  const bool file = entry.extension() == kSuffix;
  const std::string version = file ? entry.stem().string() : entry.filename().string();
  if (!IsVersion(version)) return std::nullopt;
  const fs::path path = file ? entry : entry / kFileOfVersion;
  const std::optional<std::string> stamp = StampOf(path);
  if (!stamp) return std::nullopt;
  return ArtifactFile{version, path, *stamp};
}

Result<std::vector<fs::path>> Entries(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::path> entries;
  for (auto it = fs::directory_iterator(folder, error); !error && it != fs::directory_iterator(); it.increment(error)) {
    if (it->path().filename().string().front() != '.') entries.push_back(it->path());
  }
  if (error) return Status::NotFound("cannot read the folder " + folder.string() + ": " + error.message());
  return entries;
}

}  // namespace

Result<std::vector<std::string>> ListModels(const fs::path& folder) {
  RECPILE_ASSIGN_OR_RETURN(const std::vector<fs::path> entries, Entries(folder));
  std::vector<std::string> names;
  for (const fs::path& entry : entries) {
    std::error_code error;
    if (fs::is_directory(entry, error)) names.push_back(entry.filename().string());
  }
  std::ranges::sort(names);
  return names;
}

Result<std::vector<ArtifactFile>> ListVersions(const fs::path& folder, const std::string& name) {
  RECPILE_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListModels(folder));
  if (!std::ranges::binary_search(names, name)) {
    return Status::NotFound("the model repository " + folder.string() + " has no folder '" + kserve::Excerpt(name) +
                            "'");
  }
  RECPILE_ASSIGN_OR_RETURN(const std::vector<fs::path> entries, Entries(folder / name));
  std::vector<ArtifactFile> versions;
  for (const fs::path& entry : entries) {
    if (auto version = AsVersion(entry)) versions.push_back(std::move(*version));
  }
  if (versions.empty()) {
    return Status::NotFound("model '" + name + "' has no version in " + (folder / name).string() +
                            "; put an artifact there as VERSION.pt2 or VERSION/model.pt2, VERSION a number");
  }
  const OlderVersion older;
  std::ranges::sort(versions, [&](const auto& a, const auto& b) { return older(a.version, b.version); });
  const auto twice = std::ranges::adjacent_find(versions, {}, &ArtifactFile::version);
  if (twice == versions.end()) return versions;
  return Status::InvalidArgument("version " + twice->version + " of model '" + name + "' is there twice: " +
                                 twice->path.string() + " and " + std::next(twice)->path.string() + "; remove one");
}

}  // namespace recpile::serving
