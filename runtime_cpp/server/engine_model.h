// From an artifact to a model that can be served.
#pragma once

#include <filesystem>
#include <string>

#include "recpile/engine.h"
#include "serving/served_model.h"
#include "serving/worker.h"

namespace recpile {

// Loads an artifact, warm-up included. It is served as `name` and `version`; an empty one: the manifest's. When the
// last lease is gone `reaper`, which must outlive it, stops the engine: an engine cannot stop itself on a thread of its
// own.
Result<serving::ModelPtr> LoadEngineModel(const std::filesystem::path& artifact, const std::string& name,
                                          const std::string& version, const EngineOptions& options,
                                          serving::Worker* reaper);

}  // namespace recpile
