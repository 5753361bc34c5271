// KServe v2 infer requests and answers over HTTP, with the binary tensor extension as Triton speaks it.
//
// A body is JSON, or JSON followed by the binary tensors back to back, in the order of the JSON, little-endian and
// row-major; the header Inference-Header-Content-Length then says how long the JSON part is.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "recpile/engine.h"
#include "recpile/status.h"
#include "recpile/tensor.h"
#include "serving/shared_memory.h"

namespace recpile::kserve {

struct RequestBody {
  std::span<const std::byte> bytes;
  // Keeps `bytes` alive. Tensors decoded from the body share it.
  std::shared_ptr<const void> owner;
  // The value of Inference-Header-Content-Length, where the client sent one.
  std::optional<size_t> json_length;
};

// One output that the client wants, and how.
struct OutputChoice {
  size_t index = 0;  // in the model's outputs
  bool binary = false;
  std::optional<serving::MemorySlice> shared;  // where it is to be written instead
};

struct DecodedRequest {
  InferRequest request;
  std::string id;  // echoed in the answer; empty: the client gave none
  std::vector<OutputChoice> outputs;
};

// Decodes what any stranger may have sent. Whether the inputs suit the model is for Engine::Submit to say; the outputs
// are checked here, so that a wish that cannot be met costs no inference.
//
// A binary input is a view into the body, unless it lies misaligned for its data type: then it is copied. (The server
// places a body such that the first binary tensor is aligned; a tensor behind one of odd length may not be.)
//
// `memory`: null if shared memory is off, and then asking for it is refused.
//
// Parameters: scheduling.h; classification is refused as unsupported; others are ignored.
Result<DecodedRequest> DecodeInferRequest(const RequestBody& body, const ModelInfo& model,
                                          const serving::SharedMemory* memory = nullptr);

// What the JSON part of a body says of its request's id and scheduling, without its inputs; for requests that may be
// refused before they have been read. Nothing: DecodeInferRequest will say what is wrong.
std::optional<DecodedRequest> PeekInferRequest(std::string_view json);

struct EncodedResponse {
  std::string body;
  // Where an output is binary: the length of the JSON part, for Inference-Header-Content-Length.
  std::optional<size_t> json_length;
};

// `outputs` are the engine's, in the model's order; `left_out`: InferResult::left_out, told where it is not 0.
Result<EncodedResponse> EncodeInferResponse(const ModelInfo& model, const std::string& id,
                                            const std::vector<OutputChoice>& choices,
                                            const std::vector<Tensor>& outputs,
                                            const serving::SharedMemory* memory = nullptr, int64_t left_out = 0);

}  // namespace recpile::kserve
