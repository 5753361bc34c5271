#include <new>
#include <utility>

#include "kserve/datatypes.h"
#include "kserve/infer_codec.h"
#include "kserve/json_tensor.h"
#include "kserve/json_text.h"
#include "kserve/shared_tensor.h"
#include "kserve/tensor_bytes.h"

namespace recpile::kserve {
namespace {

// Whether an output is among the blobs behind the JSON.
bool InBody(const OutputChoice& choice) { return choice.binary && !choice.shared; }

void AppendOutput(const Tensor& tensor, const OutputChoice& choice, std::string* text) {
  text->append("{\"name\":").append(QuotedJson(tensor.name));
  text->append(",\"datatype\":\"").append(DatatypeName(tensor.dtype)).append("\",\"shape\":[");
  for (size_t i = 0; i < tensor.shape.size(); ++i) {
    if (i > 0) text->push_back(',');
    text->append(std::to_string(tensor.shape[i]));
  }
  if (choice.shared) {
    // Without parameters: Triton's C++ client, perf_analyzer with it, takes any for those of a blob.
    text->append("]}");
  } else if (choice.binary) {
    text->append("],\"parameters\":{\"binary_data_size\":").append(std::to_string(tensor.data.size())).append("}}");
  } else {
    text->append("],\"data\":");
    AppendJsonData(tensor, text);
    text->push_back('}');
  }
}

Result<EncodedResponse> Encode(const ModelInfo& model, const std::string& id, const std::vector<OutputChoice>& choices,
                               const std::vector<Tensor>& outputs, const serving::SharedMemory* memory,
                               int64_t left_out) {
  RECPILE_RETURN_IF_ERROR(CheckAnswer(model, outputs));
  EncodedResponse encoded;
  std::string& text = encoded.body;
  text.append("{");
  if (!id.empty()) text.append("\"id\":").append(QuotedJson(id)).append(",");
  text.append("\"model_name\":").append(QuotedJson(model.name));
  text.append(",\"model_version\":").append(QuotedJson(model.version));
  if (left_out > 0) text.append(",\"parameters\":{\"candidates_left_out\":" + std::to_string(left_out) + "}");
  text.append(",\"outputs\":[");
  size_t binary_bytes = 0;
  bool any_binary = false;
  for (size_t i = 0; i < choices.size(); ++i) {
    const Tensor& tensor = outputs[choices[i].index];
    if (i > 0) text.push_back(',');
    if (choices[i].shared) RECPILE_RETURN_IF_ERROR(WriteShared(memory, *choices[i].shared, tensor));
    AppendOutput(tensor, choices[i], &text);
    if (InBody(choices[i])) any_binary = true, binary_bytes += tensor.data.size();
  }
  text.append("]}");
  if (!any_binary) return encoded;
  encoded.json_length = text.size();
  text.reserve(text.size() + binary_bytes);
  for (const OutputChoice& choice : choices) {
    if (!InBody(choice)) continue;
    const auto& data = outputs[choice.index].data;
    text.append(reinterpret_cast<const char*>(data.data()), data.size());
  }
  return encoded;
}

}  // namespace

Result<EncodedResponse> EncodeInferResponse(const ModelInfo& model, const std::string& id,
                                            const std::vector<OutputChoice>& choices,
                                            const std::vector<Tensor>& outputs, const serving::SharedMemory* memory,
                                            int64_t left_out) {
  try {
    return Encode(model, id, choices, outputs, memory, left_out);
  } catch (const std::bad_alloc&) {
    return Status::Unavailable("out of memory while encoding the answer; retry later");
  }
}

}  // namespace recpile::kserve
