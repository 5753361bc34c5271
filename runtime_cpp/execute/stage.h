// One node of the DAG, loaded. Internal to execute/: the only headers of the runtime that see torch.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace recpile {

// What one run changes: the values so far, and room that stages keep from run to run.
struct RunState {
  std::vector<at::Tensor> values;  // by ValueId
  // An id that no table has is looked up as another: the answer is for nobody.
  bool made_up = false;
  // Of gather_bags.h.
  std::vector<int64_t> offsets;
  std::vector<int64_t> ids;
  std::vector<float> weights;
  std::vector<std::vector<int64_t>> source_ends;
};

class Stage {
 public:
  virtual ~Stage() = default;
  // Reads its inputs from state.values and puts its outputs there. Thread-safe; throws what torch throws.
  virtual void Run(RunState& state) const = 0;
};

}  // namespace recpile
