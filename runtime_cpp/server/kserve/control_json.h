// The JSON bodies of the endpoints that control the server: its repository and its shared memory.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "recpile/status.h"
#include "serving/repository.h"
#include "serving/shared_memory.h"

namespace recpile::kserve {

// POST /v2/repository/index: whether only what is ready is asked for. An empty body asks for all.
Result<bool> ParseIndexRequest(std::string_view body);
std::string RepositoryIndexJson(const std::vector<serving::RepositoryEntry>& index, bool ready_only);

// POST /v2/repository/models/{m}/load and unload. Refuses what is not JSON, and Triton's parameters `config` and
// `file:...`, which would make the server load what a client sent: an artifact is code. Others are ignored.
Status CheckControlRequest(std::string_view body);
// The same for one parameter, of either protocol.
Status CheckControlParameter(std::string_view key);

// POST /v2/systemsharedmemory/region/{name}/register
Result<serving::MemoryRegion> ParseRegisterRequest(std::string_view body, const std::string& name);
// GET /v2/systemsharedmemory/status
std::string MemoryStatusJson(const std::vector<serving::MemoryRegion>& regions);

}  // namespace recpile::kserve
