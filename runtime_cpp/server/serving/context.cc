#include "serving/context.h"

namespace recpile::serving {

std::vector<RepositoryEntry> Index(const Context& context) {
  if (context.repository != nullptr) return context.repository->Index();
  std::vector<RepositoryEntry> index;
  for (const ModelPtr& model : context.models->List()) {
    index.push_back({model->info.name, model->info.version, "READY", ""});
  }
  return index;
}

Status NoRepository() {
  return Status::Unavailable(
      "this server serves one artifact; to load and unload models start it with --model-repository DIR "
      "--model-control explicit");
}

}  // namespace recpile::serving
