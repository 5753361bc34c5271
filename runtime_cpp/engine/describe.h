// What an engine makes of a manifest: the public description, and a request to warm up with.
#pragma once

#include "artifact/manifest.h"
#include "coalesce/segments.h"
#include "recpile/engine.h"

namespace recpile {

ModelInfo Describe(const Manifest& manifest);

// A request of one candidate, all zero and with empty bags.
Result<CheckedRequest> WarmUpRequest(const Manifest& manifest);

}  // namespace recpile
