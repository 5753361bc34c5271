// Infer requests and answers as protobuf messages.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "recpile/engine.h"
#include "recpile/status.h"
#include "rpc/inference.pb.h"

namespace recpile::rpc {

struct DecodedCall {
  InferRequest request;
  std::vector<size_t> outputs;  // which of the model's, in the order asked for
};

// Decodes what any stranger may have sent. Whether the inputs suit the model is for Engine::Submit to say.
//
// Inputs come as `raw_input_contents`, one entry each, and are then views of the message, which they share; or all as
// `contents`. Reserved parameters are treated as over HTTP (kserve/infer_codec.h).
Result<DecodedCall> DecodeCall(const std::shared_ptr<const inference::ModelInferRequest>& request,
                               const ModelInfo& model);

// Outputs always travel as `raw_output_contents`.
Status EncodeAnswer(const ModelInfo& model, const std::string& id, const std::vector<size_t>& choices,
                    const std::vector<Tensor>& outputs, inference::ModelInferResponse* response);

}  // namespace recpile::rpc
