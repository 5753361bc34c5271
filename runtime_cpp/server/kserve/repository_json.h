// The JSON bodies of the repository's endpoints.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "recpile/status.h"
#include "serving/repository.h"

namespace recpile::kserve {

// POST /v2/repository/index: whether only what is ready is asked for. An empty body asks for all.
Result<bool> ParseIndexRequest(std::string_view body);
std::string RepositoryIndexJson(const std::vector<serving::RepositoryEntry>& index, bool ready_only);

// POST /v2/repository/models/{m}/load and unload. Refuses what is not JSON, and Triton's parameters `config` and
// `file:...`, which would make the server load what a client sent: an artifact is code. Others are ignored.
Status CheckControlRequest(std::string_view body);
// The same for one parameter.
Status CheckControlParameter(std::string_view key);

}  // namespace recpile::kserve
