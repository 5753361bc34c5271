#include "serving/repository.h"

#include <exception>
#include <set>

namespace recpile::serving {

Repository::Repository(RepositoryOptions options, Models* models, LoadModel load)
    : options_(std::move(options)), models_(models), load_(std::move(load)) {}

Status Repository::Load(const std::string& name) {
  const std::lock_guard one_at_a_time(loading_);
  try {
    return LoadLocked(name);
  } catch (const std::exception& error) {
    return Status::Internal("model '" + name + "' could not be loaded: " + error.what());
  }
}

Status Repository::LoadLocked(const std::string& name) {
  RECPILE_ASSIGN_OR_RETURN(std::vector<ArtifactFile> files, ListVersions(options_.folder, name));
  files = Wanted(std::move(files));
  std::vector<ModelPtr> versions;
  for (const ArtifactFile& file : files) {
    ModelPtr model = Unchanged(name, file);
    if (model == nullptr) {
      RECPILE_ASSIGN_OR_RETURN(model, LoadVersion(name, file));
    }
    versions.push_back(std::move(model));
  }
  const std::lock_guard lock(mutex_);
  models_->Publish(name, versions);
  std::erase_if(known_, [&](const auto& entry) { return entry.first.first == name; });
  for (const ArtifactFile& file : files) KnownOf(name, file.version).stamp = file.stamp;
  return Status();
}

std::vector<ArtifactFile> Repository::Wanted(std::vector<ArtifactFile> found) const {
  if (options_.versions == VersionPolicy::kLatest) found.erase(found.begin(), std::prev(found.end()));
  return found;
}

ModelPtr Repository::Unchanged(const std::string& name, const ArtifactFile& file) const {
  const std::lock_guard lock(mutex_);
  const auto known = known_.find({name, file.version});
  if (known == known_.end() || known->second.stamp != file.stamp) return nullptr;
  Result<ModelPtr> served = models_->Find(name, file.version);
  return served.ok() ? std::move(served).value() : nullptr;
}

Result<ModelPtr> Repository::LoadVersion(const std::string& name, const ArtifactFile& file) {
  {
    const std::lock_guard lock(mutex_);
    KnownOf(name, file.version).loading = true;
  }
  Result<ModelPtr> loaded = load_(name, file);
  const std::lock_guard lock(mutex_);
  Known& known = KnownOf(name, file.version);
  known.loading = false;
  if (loaded.ok()) return loaded;
  known.reason = loaded.status().message();
  return Status(loaded.status().code(),
                "model '" + name + "' version " + file.version + " could not be loaded: " + loaded.status().message());
}

Status Repository::LoadAll(std::vector<std::string> names) {
  if (names.empty()) {
    RECPILE_ASSIGN_OR_RETURN(names, ListModels(options_.folder));
  }
  Status failed;
  for (const std::string& name : names) {
    const Status status = Load(name);
    if (status.ok()) continue;
    failed = failed.ok() ? status : Status(failed.code(), failed.message() + "\n" + status.message());
  }
  return failed;
}

Status Repository::Unload(const std::string& name) {
  const std::lock_guard one_at_a_time(loading_);
  RECPILE_RETURN_IF_ERROR(models_->Find(name, "").status());
  const std::lock_guard lock(mutex_);
  models_->Publish(name, {});
  std::erase_if(known_, [&](const auto& entry) { return entry.first.first == name; });
  return Status();
}

void Repository::LoadForClient(std::string name, Done done) {
  if (!options_.control) {
    return done(
        Status::Unavailable("models cannot be loaded at run time; start the server with --model-control explicit"));
  }
  worker_.Post([this, name = std::move(name), done = std::move(done)] { done(Load(name)); });
}

void Repository::UnloadForClient(std::string name, Done done) {
  if (!options_.control) {
    return done(
        Status::Unavailable("models cannot be unloaded at run time; start the server with --model-control explicit"));
  }
  worker_.Post([this, name = std::move(name), done = std::move(done)] { done(Unload(name)); });
}

std::vector<RepositoryEntry> Repository::Index() const {
  std::set<Key> keys;
  if (const auto names = ListModels(options_.folder); names.ok()) {
    for (const std::string& name : names.value()) {
      const auto files = ListVersions(options_.folder, name);
      if (!files.ok()) continue;
      for (const ArtifactFile& file : files.value()) keys.emplace(name, file.version);
    }
  }
  for (const ModelPtr& model : models_->List()) keys.emplace(model->info.name, model->info.version);

  std::vector<RepositoryEntry> index;
  const std::lock_guard lock(mutex_);
  for (const auto& [name, version] : keys) {
    const bool ready = models_->Find(name, version).ok();
    const auto known = known_.find({name, version});
    const Known state = known == known_.end() ? Known{} : known->second;
    index.push_back({name, version, ready ? "READY" : state.loading ? "LOADING" : "UNAVAILABLE", state.reason});
  }
  return index;
}

}  // namespace recpile::serving
