// The JSON bodies of KServe v2's GET endpoints.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "serving/served_model.h"

namespace recpile::kserve {

// What of the protocol's extensions there is.
std::vector<std::string> Extensions(bool shared_memory);

// GET /v2
std::string ServerMetadataJson(std::string_view version, bool shared_memory);

// GET /v2/models/{m}. `versions`: all that are served under this name.
std::string ModelMetadataJson(const ModelInfo& model, const std::vector<serving::ModelPtr>& versions);

// GET /v2/models/{m}/config: the parts of Triton's model config that clients read (perf_analyzer does so first).
std::string ModelConfigJson(const ModelInfo& model);

// The batches that all parts of a run have been counted of. One may be under way, or have failed; clients take the
// difference of two readings, and perf_analyzer ends if the parts differ in it.
uint64_t WholeRuns(const EngineStats& stats);

// GET /v2/models/{m}/stats, in Triton's form. What differs from Triton's, because the engine counts so:
// - compute_input (joining requests), compute_infer (the stages) and compute_output (cutting outputs) are sums over
//   batches, not over requests;
// - fail includes the requests that were refused.
// What Triton does not have lies under "recpile".
std::string ModelStatsJson(const std::vector<serving::ModelPtr>& models);

// {"error": "..."}
std::string ErrorJson(std::string_view message);

}  // namespace recpile::kserve
