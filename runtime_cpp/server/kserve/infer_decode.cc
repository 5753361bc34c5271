#include <new>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "kserve/binary_tail.h"
#include "kserve/datatypes.h"
#include "kserve/infer_codec.h"
#include "kserve/json_members.h"
#include "kserve/json_tensor.h"
#include "kserve/request_json.h"
#include "kserve/scheduling.h"
#include "kserve/shared_tensor.h"
#include "kserve/tensor_bytes.h"

namespace recpile::kserve {
namespace {

using nlohmann::json;

Result<Tensor> DecodeInput(const json& entry, const PackedData* data, const std::string& name, BinaryTail* tail,
                           const serving::SharedMemory* memory) {
  const std::string label = "input '" + Excerpt(name) + "'";
  RECPILE_ASSIGN_OR_RETURN(const json* parameters, ParametersOf(entry, label));
  Tensor tensor{.name = name};
  RECPILE_ASSIGN_OR_RETURN(tensor.dtype, DatatypeOf(entry, label));
  RECPILE_ASSIGN_OR_RETURN(tensor.shape, ShapeOf(entry, label));
  const json* binary_size = Find(*parameters, "binary_data_size");
  const bool has_data = entry.contains("data");
  RECPILE_ASSIGN_OR_RETURN(const std::optional<serving::MemorySlice> shared, SliceOf(*parameters, label));
  if (shared && !has_data && binary_size == nullptr) {
    RECPILE_RETURN_IF_ERROR(ReadShared(memory, *shared, label, &tensor));
    return tensor;
  }
  if (has_data == (binary_size != nullptr)) {
    return Status::InvalidArgument(label + (has_data ? " has both \"data\" and parameter \"binary_data_size\"; send one"
                                                     : " has neither \"data\" nor parameter \"binary_data_size\""));
  }
  if (binary_size != nullptr) {
    RECPILE_RETURN_IF_ERROR(tail->Take(*binary_size, label, &tensor));
    return tensor;
  }
  if (data == nullptr) return Status::InvalidArgument(label + ": \"data\" must be an array");
  return TensorFromPacked(name, tensor.dtype, tensor.shape, *data);
}

Result<std::vector<Tensor>> DecodeInputs(const RequestJson& parsed, BinaryTail* tail,
                                         const serving::SharedMemory* memory) {
  const json* entries = Find(parsed.tree, "inputs");
  if (entries == nullptr || !entries->is_array() || entries->empty()) {
    return Status::InvalidArgument("the request needs \"inputs\" (a non-empty array)");
  }
  std::vector<Tensor> inputs;
  std::unordered_set<std::string> seen;
  for (size_t i = 0; i < entries->size(); ++i) {
    const json& entry = (*entries)[i];
    RECPILE_ASSIGN_OR_RETURN(const std::string name, NameOf(entry, "inputs[" + std::to_string(i) + "]"));
    if (!seen.insert(name).second) {
      return Status::InvalidArgument("input '" + Excerpt(name) + "' is given twice");
    }
    const auto data = parsed.data.find(i);
    RECPILE_ASSIGN_OR_RETURN(
        Tensor tensor, DecodeInput(entry, data == parsed.data.end() ? nullptr : &data->second, name, tail, memory));
    inputs.push_back(std::move(tensor));
  }
  return inputs;
}

Result<OutputChoice> DecodeOutput(const json& entry, const std::string& name, bool binary_default,
                                  const ModelInfo& model) {
  const std::string label = "output '" + Excerpt(name) + "'";
  RECPILE_ASSIGN_OR_RETURN(const json* parameters, ParametersOf(entry, label));
  if (parameters->contains("classification")) {
    return Status::Unsupported(label + ": classification is not supported; ask for the tensor and sort on the client");
  }
  OutputChoice choice;
  RECPILE_ASSIGN_OR_RETURN(choice.index, OutputIndex(model, name));
  RECPILE_ASSIGN_OR_RETURN(choice.binary, BoolParameter(*parameters, "binary_data", binary_default, label));
  RECPILE_ASSIGN_OR_RETURN(choice.shared, SliceOf(*parameters, label));
  return choice;
}

// No `outputs`, or none in it, asks for all of them.
Result<std::vector<OutputChoice>> DecodeOutputs(const json& root, const ModelInfo& model) {
  RECPILE_ASSIGN_OR_RETURN(const json* parameters, ParametersOf(root, "the request"));
  RECPILE_ASSIGN_OR_RETURN(const bool binary_default,
                           BoolParameter(*parameters, "binary_data_output", false, "the request"));
  const json* entries = Find(root, "outputs");
  if (entries != nullptr && !entries->is_array()) return Status::InvalidArgument("\"outputs\" must be an array");
  std::vector<OutputChoice> choices;
  if (entries == nullptr || entries->empty()) {
    for (size_t i = 0; i < model.outputs.size(); ++i) choices.push_back({.index = i, .binary = binary_default});
  } else {
    std::vector<bool> seen(model.outputs.size());
    for (const json& entry : *entries) {
      const std::string label = "outputs[" + std::to_string(choices.size()) + "]";
      RECPILE_ASSIGN_OR_RETURN(const std::string name, NameOf(entry, label));
      RECPILE_ASSIGN_OR_RETURN(const OutputChoice choice, DecodeOutput(entry, name, binary_default, model));
      if (seen[choice.index]) return Status::InvalidArgument("output '" + Excerpt(name) + "' is asked for twice");
      seen[choice.index] = true;
      choices.push_back(choice);
    }
  }
  for (const OutputChoice& choice : choices) {
    const TensorSpec& spec = model.outputs[choice.index];
    if (choice.binary || choice.shared || HasJsonForm(spec.dtype)) continue;
    return Status::InvalidArgument("output '" + spec.name + "' is " + std::string(DatatypeName(spec.dtype)) +
                                   ", which has no JSON form; ask for it with parameter \"binary_data\": true");
  }
  return choices;
}

// The id and what scheduling.h reads.
Status DecodeHead(const json& tree, DecodedRequest* decoded) {
  if (!tree.is_object()) return Status::InvalidArgument("the request's JSON must be an object");
  if (const json* id = Find(tree, "id")) {
    if (!id->is_string()) return Status::InvalidArgument("\"id\" must be a string");
    decoded->id = id->get<std::string>();
  }
  RECPILE_ASSIGN_OR_RETURN(const json* parameters, ParametersOf(tree, "the request"));
  return ReadScheduling(*parameters, &decoded->request);
}

Result<DecodedRequest> Decode(const RequestBody& body, const ModelInfo& model, const serving::SharedMemory* memory) {
  const size_t json_length = body.json_length.value_or(body.bytes.size());
  if (json_length > body.bytes.size()) {
    return Status::InvalidArgument(std::string(kLengthHeader) + " is " + std::to_string(json_length) +
                                   ", but the body has only " + std::to_string(body.bytes.size()) + " bytes");
  }
  if (json_length == 0) {
    return Status::InvalidArgument(body.bytes.empty() ? "the request has no body; send a KServe v2 infer request"
                                                      : "raw binary requests (" + std::string(kLengthHeader) +
                                                            ": 0) are not supported; begin the body with JSON");
  }
  const std::string_view text(reinterpret_cast<const char*>(body.bytes.data()), json_length);
  RECPILE_ASSIGN_OR_RETURN(const RequestJson parsed, ParseRequestJson(text));
  DecodedRequest decoded;
  RECPILE_RETURN_IF_ERROR(DecodeHead(parsed.tree, &decoded));
  RECPILE_ASSIGN_OR_RETURN(decoded.outputs, DecodeOutputs(parsed.tree, model));
  // Before the model runs for an answer that could not be given.
  for (const OutputChoice& choice : decoded.outputs) {
    if (choice.shared && memory == nullptr) return SharedMemoryIsOff();
  }
  BinaryTail tail(body.bytes.subspan(json_length), body.owner, body.json_length.has_value());
  RECPILE_ASSIGN_OR_RETURN(decoded.request.inputs, DecodeInputs(parsed, &tail, memory));
  if (tail.left() > 0) {
    return Status::InvalidArgument(std::to_string(tail.left()) +
                                   " bytes of the body follow the last binary tensor; the binary_data_size parameters "
                                   "must add up to what follows the JSON");
  }
  return decoded;
}

}  // namespace

Result<DecodedRequest> DecodeInferRequest(const RequestBody& body, const ModelInfo& model,
                                          const serving::SharedMemory* memory) {
  try {
    return Decode(body, model, memory);
  } catch (const std::bad_alloc&) {
    return Status::Unavailable("out of memory while decoding the request; retry later or send a smaller one");
  }
}

std::optional<DecodedRequest> PeekInferRequest(std::string_view json) {
  try {
    const Result<RequestJson> parsed = ParseRequestJson(json);
    DecodedRequest decoded;
    if (parsed.ok() && DecodeHead(parsed.value().tree, &decoded).ok()) return decoded;
  } catch (const std::bad_alloc&) {
    // Nor will it be decoded.
  }
  return std::nullopt;
}

}  // namespace recpile::kserve
