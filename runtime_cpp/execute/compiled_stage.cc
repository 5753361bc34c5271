#include "execute/compiled_stage.h"

#include <stdexcept>

namespace recpile {

CompiledStage::CompiledStage(const StageSpec& spec, const std::string& archive, int instances)
    : spec_(spec),
      loader_(std::make_unique<torch::inductor::AOTIModelPackageLoader>(
          archive, spec.name, /*run_single_threaded=*/false, static_cast<size_t>(instances),
          /*device_index=*/-1)) {}

void CompiledStage::Run(RunState& state, Scratch& /*scratch*/) const {
  std::vector<at::Tensor> inputs;
  inputs.reserve(spec_.inputs.size());
  for (const ValueId id : spec_.inputs) inputs.push_back(state.values[static_cast<size_t>(id)]);
  std::vector<at::Tensor> outputs = loader_->boxed_run(std::move(inputs));
  if (outputs.size() != spec_.outputs.size()) {
    throw std::runtime_error("gave " + std::to_string(outputs.size()) + " outputs; the manifest names " +
                             std::to_string(spec_.outputs.size()));
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    state.values[static_cast<size_t>(spec_.outputs[i])] = std::move(outputs[i]);
  }
}

}  // namespace recpile
