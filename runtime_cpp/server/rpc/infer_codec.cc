#include "rpc/infer_codec.h"

#include <algorithm>
#include <new>
#include <optional>
#include <unordered_set>
#include <utility>

#include "kserve/datatypes.h"
#include "kserve/request_json.h"
#include "kserve/shared_tensor.h"
#include "kserve/tensor_bytes.h"
#include "rpc/contents.h"
#include "rpc/parameters.h"

namespace recpile::rpc {
namespace {

using inference::ModelInferRequest;
using kserve::Excerpt;

using Slice = std::optional<serving::MemorySlice>;

// The entries of raw_input_contents, one after the other.
class RawInputs {
 public:
  explicit RawInputs(const ModelInferRequest& request) : request_(request) {}

  bool used() const { return request_.raw_input_contents_size() > 0; }
  const std::string* Next() {
    return next_ < request_.raw_input_contents_size() ? &request_.raw_input_contents(next_++) : nullptr;
  }
  Status CheckAllTaken(int needed) const {
    if (!used() || needed == request_.raw_input_contents_size()) return Status();
    return Status::InvalidArgument("the request has " + std::to_string(request_.raw_input_contents_size()) +
                                   " raw_input_contents for " + std::to_string(needed) +
                                   " inputs; send one for each, or none");
  }

 private:
  const ModelInferRequest& request_;
  int next_ = 0;
};

Status DecodeInput(const ModelInferRequest::InferInputTensor& input, const Slice& shared, RawInputs* raw,
                   const std::shared_ptr<const void>& owner, const serving::SharedMemory* memory, Tensor* tensor) {
  const std::string label = "input '" + Excerpt(input.name()) + "'";
  const std::optional<DType> dtype = kserve::DatatypeFromName(input.datatype());
  if (!dtype) {
    return Status::InvalidArgument(label + ": datatype \"" + Excerpt(input.datatype()) +
                                   "\" is not supported; it may be one of " + kserve::KnownDatatypes());
  }
  tensor->name = input.name();
  tensor->dtype = *dtype;
  tensor->shape.assign(input.shape().begin(), input.shape().end());
  RECPILE_RETURN_IF_ERROR(kserve::CheckShape(tensor->shape, label));
  if (input.has_contents() && (shared || raw->used())) {
    return Status::InvalidArgument(label +
                                   " has contents, and lies in raw_input_contents or shared memory too; send "
                                   "one of them");
  }
  if (shared) return kserve::ReadShared(memory, *shared, label, tensor);
  if (!raw->used()) return TakeContents(input.contents(), label, tensor);
  return kserve::ViewBytes(std::as_bytes(std::span(*raw->Next())), owner, label, tensor);
}

Status DecodeInputs(const std::shared_ptr<const ModelInferRequest>& request, const serving::SharedMemory* memory,
                    std::vector<Tensor>* inputs) {
  if (request->inputs().empty()) return Status::InvalidArgument("the request has no inputs");
  std::vector<Slice> shared;
  std::unordered_set<std::string_view> seen;
  for (const auto& input : request->inputs()) {
    const std::string label = "input '" + Excerpt(input.name()) + "'";
    if (!seen.insert(input.name()).second) return Status::InvalidArgument(label + " is given twice");
    RECPILE_ASSIGN_OR_RETURN(Slice slice, SliceOf(input.parameters(), label));
    shared.push_back(std::move(slice));
  }
  RawInputs raw(*request);
  RECPILE_RETURN_IF_ERROR(
      raw.CheckAllTaken(static_cast<int>(std::ranges::count_if(shared, [](const Slice& slice) { return !slice; }))));
  inputs->resize(shared.size());
  for (size_t i = 0; i < shared.size(); ++i) {
    const auto& input = request->inputs(static_cast<int>(i));
    RECPILE_RETURN_IF_ERROR(DecodeInput(input, shared[i], &raw, request, memory, &(*inputs)[i]));
  }
  return Status();
}

Result<std::vector<kserve::OutputChoice>> DecodeOutputs(const ModelInferRequest& request, const ModelInfo& model,
                                                        const serving::SharedMemory* memory) {
  std::vector<kserve::OutputChoice> choices;
  for (const auto& output : request.outputs()) {
    const std::string label = "output '" + Excerpt(output.name()) + "'";
    if (output.parameters().contains("classification")) {
      return Status::Unsupported(label +
                                 ": classification is not supported; ask for the tensor and sort on the client");
    }
    kserve::OutputChoice choice{.binary = true};
    RECPILE_ASSIGN_OR_RETURN(choice.shared, SliceOf(output.parameters(), label));
    // Before the model runs for an answer that could not be given.
    if (choice.shared && memory == nullptr) return kserve::SharedMemoryIsOff();
    RECPILE_ASSIGN_OR_RETURN(choice.index, kserve::OutputIndex(model, output.name()));
    if (std::ranges::find(choices, choice.index, &kserve::OutputChoice::index) != choices.end()) {
      return Status::InvalidArgument(label + " is asked for twice");
    }
    choices.push_back(std::move(choice));
  }
  if (choices.empty()) {
    for (size_t i = 0; i < model.outputs.size(); ++i) choices.push_back({.index = i, .binary = true});
  }
  return choices;
}

Result<DecodedCall> Decode(const std::shared_ptr<const ModelInferRequest>& request, const ModelInfo& model,
                           const serving::SharedMemory* memory) {
  DecodedCall decoded;
  RECPILE_ASSIGN_OR_RETURN(decoded.outputs, DecodeOutputs(*request, model, memory));
  RECPILE_RETURN_IF_ERROR(ReadScheduling(request->parameters(), &decoded.request));
  RECPILE_RETURN_IF_ERROR(DecodeInputs(request, memory, &decoded.request.inputs));
  return decoded;
}

}  // namespace

Result<DecodedCall> DecodeCall(const std::shared_ptr<const ModelInferRequest>& request, const ModelInfo& model,
                               const serving::SharedMemory* memory) {
  try {
    return Decode(request, model, memory);
  } catch (const std::bad_alloc&) {
    return Status::Unavailable("out of memory while decoding the request; retry later or send a smaller one");
  }
}

Status EncodeAnswer(const ModelInfo& model, const std::string& id, const std::vector<kserve::OutputChoice>& choices,
                    const std::vector<Tensor>& outputs, const serving::SharedMemory* memory, int64_t left_out,
                    inference::ModelInferResponse* response) {
  RECPILE_RETURN_IF_ERROR(kserve::CheckAnswer(model, outputs));
  response->set_model_name(model.name);
  response->set_model_version(model.version);
  response->set_id(id);
  if (left_out > 0) (*response->mutable_parameters())["candidates_left_out"].set_int64_param(left_out);
  for (const kserve::OutputChoice& choice : choices) {
    const Tensor& tensor = outputs[choice.index];
    auto* output = response->add_outputs();
    output->set_name(tensor.name);
    output->set_datatype(std::string(kserve::DatatypeName(tensor.dtype)));
    output->mutable_shape()->Assign(tensor.shape.begin(), tensor.shape.end());
    std::string* raw = response->add_raw_output_contents();
    if (!choice.shared) {
      raw->assign(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size());
      continue;
    }
    RECPILE_RETURN_IF_ERROR(kserve::WriteShared(memory, *choice.shared, tensor));
    auto& parameters = *output->mutable_parameters();
    parameters["shared_memory_region"].set_string_param(choice.shared->region);
    parameters["shared_memory_offset"].set_int64_param(static_cast<int64_t>(choice.shared->offset));
    parameters["shared_memory_byte_size"].set_int64_param(static_cast<int64_t>(tensor.data.size()));
  }
  return Status();
}

}  // namespace recpile::rpc
