// A model repository on disk:
//
//   FOLDER/ranker/1.pt2            model `ranker`, version 1
//   FOLDER/ranker/2.pt2            version 2
//   FOLDER/retrieval/7/model.pt2   the same in Triton's layout: a folder for each version
//
// Versions are numbers of at least 1. Whatever else lies there is ignored.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "recpile/status.h"

namespace recpile::serving {

struct ArtifactFile {
  std::string version;
  std::filesystem::path path;
  // Differs when the file was replaced: its inode, size and time of change.
  std::string stamp;
};

// The models' names, sorted. kNotFound: no such folder.
Result<std::vector<std::string>> ListModels(const std::filesystem::path& folder);

// The versions of one model, oldest first. kNotFound: no such model, or it has no version. kInvalidArgument: one
// version lies there twice. `name` may be what a client sent: it is compared with names in the folder and never made a
// path.
Result<std::vector<ArtifactFile>> ListVersions(const std::filesystem::path& folder, const std::string& name);

}  // namespace recpile::serving
