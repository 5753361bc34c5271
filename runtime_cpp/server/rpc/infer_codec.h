// Infer requests and answers as protobuf messages.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kserve/infer_codec.h"
#include "recpile/engine.h"
#include "recpile/status.h"
#include "rpc/inference.pb.h"

namespace recpile::rpc {

struct DecodedCall {
  InferRequest request;
  std::vector<kserve::OutputChoice> outputs;  // in the order asked for
};

// Decodes what any stranger may have sent. Whether the inputs suit the model is for Engine::Submit to say.
//
// Inputs come as `raw_input_contents`, one entry each, and are then views of the message, which they share; or all as
// `contents`; one that lies in shared memory has no entry. `memory` and reserved parameters: as over HTTP
// (kserve/infer_codec.h).
Result<DecodedCall> DecodeCall(const std::shared_ptr<const inference::ModelInferRequest>& request,
                               const ModelInfo& model, const serving::SharedMemory* memory = nullptr);

// Outputs always travel as `raw_output_contents`; the entry of one that was written to shared memory is empty.
// `left_out`: as over HTTP.
Status EncodeAnswer(const ModelInfo& model, const std::string& id, const std::vector<kserve::OutputChoice>& choices,
                    const std::vector<Tensor>& outputs, const serving::SharedMemory* memory, int64_t left_out,
                    inference::ModelInferResponse* response);

}  // namespace recpile::rpc
