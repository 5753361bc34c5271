#include "engine/describe.h"

#include <memory>

namespace recpile {

ModelInfo Describe(const Manifest& manifest) {
  ModelInfo info{manifest.name, manifest.version, {}, {}, {}, {}};
  for (const InputTensor& input : manifest.inputs) info.inputs.push_back(input.spec);
  for (const OutputSpec& output : manifest.outputs) info.outputs.push_back(output.spec);
  for (const StageSpec& stage : manifest.stages) {
    info.stages.push_back({stage.name, stage.kind == StageKind::kEmbedding ? "embedding" : "compiled"});
  }
  for (const Table& table : manifest.tables) {
    info.tables.push_back({table.name, table.dtype, table.rows, table.dim, table.rows * table.row_bytes});
  }
  return info;
}

Result<CheckedRequest> WarmUpRequest(const Manifest& manifest) {
  InferRequest request;
  for (const InputTensor& input : manifest.inputs) {
    Tensor tensor{input.spec.name, input.spec.dtype, input.spec.shape, {}, nullptr};
    const bool ids = input.role == InputRole::kValues || input.role == InputRole::kWeights;
    size_t bytes = DTypeBytes(input.spec.dtype);
    for (int64_t& size : tensor.shape) {
      if (size == -1) size = ids ? 0 : 1;
      bytes *= static_cast<size_t>(size);
    }
    auto zeros = std::make_shared<std::vector<std::byte>>(bytes);
    tensor.data = *zeros;
    tensor.owner = zeros;
    request.inputs.push_back(std::move(tensor));
  }
  return CheckRequest(manifest, std::move(request));
}

}  // namespace recpile
