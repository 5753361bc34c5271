// Loads models from a folder, and unloads and reloads them while the others, and their own old versions, serve on.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "serving/models.h"
#include "serving/repository_folder.h"
#include "serving/worker.h"

namespace recpile::serving {

enum class VersionPolicy {
  kLatest,  // the newest version of each model
  kAll,
};

struct RepositoryOptions {
  std::filesystem::path folder;
  VersionPolicy versions = VersionPolicy::kLatest;
  // Whether clients may load and unload.
  bool control = false;
};

// What is known of one version: of the folder's, and of those served that are there no more.
struct RepositoryEntry {
  std::string name;
  std::string version;
  std::string state;   // "READY", "LOADING" or "UNAVAILABLE"
  std::string reason;  // why it is not served, or why the last attempt to replace it failed; may be empty
};

// Thread-safe.
class Repository {
 public:
  // Loads one artifact to its first answer (so warm-up included), under the name and version given.
  using LoadModel = std::function<Result<ModelPtr>(const std::string& name, const ArtifactFile& file)>;
  using Done = std::function<void(Status)>;

  // `models` must outlive the repository.
  Repository(RepositoryOptions options, Models* models, LoadModel load);

  const RepositoryOptions& options() const { return options_; }

  // Brings what is served of `name` in line with the folder: loads versions that are new or whose file was replaced,
  // while the old ones serve; then switches over at once, or, if any of them failed, leaves everything as it was.
  // Requests that an old version has accepted are answered by it. On the calling thread.
  Status Load(const std::string& name);
  // Every model of the folder, or those named. All of them are tried; the errors are joined.
  Status LoadAll(std::vector<std::string> names = {});
  // kNotFound: it is not served.
  Status Unload(const std::string& name);

  // The same for clients: refused unless `options.control`, run one after the other on a thread of the repository's
  // own, which calls `done`.
  void LoadForClient(std::string name, Done done);
  void UnloadForClient(std::string name, Done done);

  std::vector<RepositoryEntry> Index() const;

 private:
  using Key = std::pair<std::string, std::string>;  // name, version
  struct Known {
    std::string stamp;  // of the file that is served; empty: none is
    bool loading = false;
    std::string reason;
  };

  Status LoadLocked(const std::string& name);
  std::vector<ArtifactFile> Wanted(std::vector<ArtifactFile> found) const;
  // The version as it is served already, if its file is still the same.
  ModelPtr Unchanged(const std::string& name, const ArtifactFile& file) const;
  Result<ModelPtr> LoadVersion(const std::string& name, const ArtifactFile& file);
  Known& KnownOf(const std::string& name, const std::string& version) { return known_[{name, version}]; }

  const RepositoryOptions options_;
  Models* const models_;
  const LoadModel load_;
  std::mutex loading_;          // one load or unload at a time
  mutable std::mutex mutex_;    // never held while loading, so that the index can be read
  std::map<Key, Known> known_;  // guarded by mutex_
  Worker worker_;               // last: its tasks use what is above
};

}  // namespace recpile::serving
