// A stage that AOTInductor compiled.
#pragma once

#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

#include <memory>
#include <string>

#include "artifact/manifest.h"
#include "execute/stage.h"

namespace recpile {

class CompiledStage final : public Stage {
 public:
  // Unpacks the stage's shared object from the archive into a temporary folder and loads it. `instances` runs may be
  // under way at once: with fewer runners than that, threads would queue inside torch. Throws if it cannot be loaded.
  CompiledStage(const StageSpec& spec, const std::string& archive, int instances);

  void Run(RunState& state, Scratch& scratch) const override;

 private:
  const StageSpec& spec_;
  std::unique_ptr<torch::inductor::AOTIModelPackageLoader> loader_;
};

}  // namespace recpile
