// The JSON bodies of KServe v2's GET endpoints.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "recpile/engine.h"

namespace recpile::kserve {

// GET /v2
std::string ServerMetadataJson(std::string_view version);

// GET /v2/models/{m}
std::string ModelMetadataJson(const ModelInfo& model);

// GET /v2/models/{m}/config: the parts of Triton's model config that clients read (perf_analyzer does so first).
std::string ModelConfigJson(const ModelInfo& model);

// GET /v2/models/{m}/stats, in Triton's form. `success_ns`: from a request's last byte read to its answer, summed over
// the successful ones. What differs from Triton's, because the engine counts so:
// - compute_infer is a sum over batches, not over requests, and includes assembling the batch and splitting its
// outputs;
//   compute_input and compute_output, which clients require, are therefore 0 ns;
// - fail includes the requests that the engine refused, and no durations are kept of failures.
// What Triton does not have lies under "recpile".
std::string ModelStatsJson(const ModelInfo& model, const EngineStats& stats, uint64_t success_ns);

// {"error": "..."}
std::string ErrorJson(std::string_view message);

}  // namespace recpile::kserve
