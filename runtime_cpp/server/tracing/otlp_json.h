// Spans in OTLP's JSON.
#pragma once

#include <string>
#include <vector>

#include "tracing/span.h"

namespace recpile::tracing {

// The body of an OTLP/HTTP export request. Of each request a server span; in it, if it ran, `queue`, and of each batch
// that it was part of a `run` with the batch's parts. A `run` is linked to the other requests of `requests` that shared
// its batch.
std::string ExportRequest(const std::vector<RequestSpan>& requests, const std::string& server_version);

}  // namespace recpile::tracing
