// The reserved parameters of requests, inputs and outputs.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "recpile/engine.h"
#include "rpc/inference.pb.h"
#include "serving/shared_memory.h"

namespace recpile::rpc {

using Parameters = google::protobuf::Map<std::string, inference::InferParameter>;

// Where in shared memory a tensor lies; nothing: it does not. `label` names the tensor in errors.
Result<std::optional<serving::MemorySlice>> SliceOf(const Parameters& parameters, const std::string& label);

// Reads `priority`, `timeout` (microseconds) and `partial_ok` as kserve/scheduling.h does.
Status ReadScheduling(const Parameters& parameters, InferRequest* request);

// A client that gives up at `deadline` needs no answer after it: the request's timeout becomes no longer than that.
void LimitTimeout(std::chrono::system_clock::time_point deadline, InferRequest* request);

}  // namespace recpile::rpc
