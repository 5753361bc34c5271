// The request parameters that say how soon an answer is wanted.
#pragma once

#include "nlohmann/json.hpp"
#include "recpile/engine.h"

namespace recpile::kserve {

// Reads `priority` (1 is the highest, 0 the default) and `timeout` (microseconds, 0 the default) from a request's
// "parameters"; absent or null, they stay as they are. InvalidArgument for what is no whole number of at least 0;
// Unsupported for a request of a sequence.
Status ReadScheduling(const nlohmann::json& parameters, InferRequest* request);

// What a request with a `sequence_id` is told: none of the models keeps anything from one request to the next.
Status SequencesAreUnsupported();

}  // namespace recpile::kserve
