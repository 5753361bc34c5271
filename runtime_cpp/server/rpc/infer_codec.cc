#include "rpc/infer_codec.h"

#include <new>
#include <unordered_set>
#include <utility>

#include "kserve/datatypes.h"
#include "kserve/request_json.h"
#include "kserve/tensor_bytes.h"
#include "rpc/contents.h"

namespace recpile::rpc {
namespace {

using inference::ModelInferRequest;
using kserve::Excerpt;

// Refuses the features that need server state which we do not keep.
template <class Parameters>
Status CheckParameters(const Parameters& parameters, const std::string& label) {
  if (parameters.contains("shared_memory_region")) {
    return Status::Unsupported(label + ": shared memory is not supported; send the tensor in the request's message");
  }
  return Status();
}

Status DecodeInput(const ModelInferRequest::InferInputTensor& input, const std::string* raw,
                   const std::shared_ptr<const void>& owner, Tensor* tensor) {
  const std::string label = "input '" + Excerpt(input.name()) + "'";
  RECPILE_RETURN_IF_ERROR(CheckParameters(input.parameters(), label));
  const std::optional<DType> dtype = kserve::DatatypeFromName(input.datatype());
  if (!dtype) {
    return Status::InvalidArgument(label + ": datatype \"" + Excerpt(input.datatype()) +
                                   "\" is not supported; it may be one of " + kserve::KnownDatatypes());
  }
  tensor->name = input.name();
  tensor->dtype = *dtype;
  tensor->shape.assign(input.shape().begin(), input.shape().end());
  RECPILE_RETURN_IF_ERROR(kserve::CheckShape(tensor->shape, label));
  if (raw == nullptr) return TakeContents(input.contents(), label, tensor);
  if (input.has_contents()) {
    return Status::InvalidArgument(label + " has contents, and the request has raw_input_contents; send one of them");
  }
  return kserve::ViewBytes(std::as_bytes(std::span(*raw)), owner, label, tensor);
}

Result<std::vector<size_t>> DecodeOutputs(const ModelInferRequest& request, const ModelInfo& model) {
  std::vector<size_t> choices;
  for (const auto& output : request.outputs()) {
    const std::string label = "output '" + Excerpt(output.name()) + "'";
    RECPILE_RETURN_IF_ERROR(CheckParameters(output.parameters(), label));
    if (output.parameters().contains("classification")) {
      return Status::Unsupported(label +
                                 ": classification is not supported; ask for the tensor and sort on the client");
    }
    RECPILE_ASSIGN_OR_RETURN(const size_t index, kserve::OutputIndex(model, output.name()));
    if (std::ranges::find(choices, index) != choices.end()) {
      return Status::InvalidArgument(label + " is asked for twice");
    }
    choices.push_back(index);
  }
  if (choices.empty()) {
    for (size_t i = 0; i < model.outputs.size(); ++i) choices.push_back(i);
  }
  return choices;
}

Result<DecodedCall> Decode(const std::shared_ptr<const ModelInferRequest>& request, const ModelInfo& model) {
  DecodedCall decoded;
  RECPILE_RETURN_IF_ERROR(CheckParameters(request->parameters(), "the request"));
  RECPILE_ASSIGN_OR_RETURN(decoded.outputs, DecodeOutputs(*request, model));
  if (request->inputs().empty()) return Status::InvalidArgument("the request has no inputs");
  const int raw = request->raw_input_contents_size();
  if (raw != 0 && raw != request->inputs_size()) {
    return Status::InvalidArgument("the request has " + std::to_string(request->inputs_size()) + " inputs and " +
                                   std::to_string(raw) + " raw_input_contents; send one for each input, or none");
  }
  std::unordered_set<std::string_view> seen;
  decoded.request.inputs.resize(static_cast<size_t>(request->inputs_size()));
  for (int i = 0; i < request->inputs_size(); ++i) {
    const auto& input = request->inputs(i);
    if (!seen.insert(input.name()).second) {
      return Status::InvalidArgument("input '" + Excerpt(input.name()) + "' is given twice");
    }
    const std::string* bytes = raw == 0 ? nullptr : &request->raw_input_contents(i);
    RECPILE_RETURN_IF_ERROR(DecodeInput(input, bytes, request, &decoded.request.inputs[static_cast<size_t>(i)]));
  }
  return decoded;
}

}  // namespace

Result<DecodedCall> DecodeCall(const std::shared_ptr<const ModelInferRequest>& request, const ModelInfo& model) {
  try {
    return Decode(request, model);
  } catch (const std::bad_alloc&) {
    return Status::Unavailable("out of memory while decoding the request; retry later or send a smaller one");
  }
}

Status EncodeAnswer(const ModelInfo& model, const std::string& id, const std::vector<size_t>& choices,
                    const std::vector<Tensor>& outputs, inference::ModelInferResponse* response) {
  RECPILE_RETURN_IF_ERROR(kserve::CheckAnswer(model, outputs));
  response->set_model_name(model.name);
  response->set_model_version(model.version);
  response->set_id(id);
  for (const size_t index : choices) {
    const Tensor& tensor = outputs[index];
    auto* output = response->add_outputs();
    output->set_name(tensor.name);
    output->set_datatype(std::string(kserve::DatatypeName(tensor.dtype)));
    output->mutable_shape()->Assign(tensor.shape.begin(), tensor.shape.end());
    response->add_raw_output_contents(tensor.data.data(), tensor.data.size());
  }
  return Status();
}

}  // namespace recpile::rpc
