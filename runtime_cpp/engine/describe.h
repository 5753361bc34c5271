// What an engine makes of a manifest: the public description, and a request to warm up with.
#pragma once

#include "artifact/manifest.h"
#include "coalesce/segments.h"
#include "recpile/engine.h"

namespace recpile {

ModelInfo Describe(const Manifest& manifest);

// A request of `rows` candidates, all zero and with empty bags. Of what the request axis holds there is one row.
Result<CheckedRequest> WarmUpRequest(const Manifest& manifest, int64_t rows);

}  // namespace recpile
