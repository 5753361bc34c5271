// One node of the DAG, loaded. Internal to execute/: the only headers of the runtime that see torch.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "execute/table_counts.h"

namespace recpile {

// The values of one run. Stages may run side by side: each writes its own outputs only, and reads what was complete
// before it began.
struct RunState {
  std::vector<at::Tensor> values;  // by ValueId
  // An id that no table has is looked up as another: the answer is for nobody.
  bool made_up = false;
  // Some ids that came with requests are to be looked up as zeros.
  bool out_of_range = false;
};

// Room that one stage keeps from run to run, for gather_bags.h, and what it counts.
struct Scratch {
  std::vector<TableCounts> counts;  // by feature
  std::vector<int64_t> offsets;
  std::vector<int64_t> ids;
  std::vector<float> weights;
  std::vector<std::vector<int64_t>> source_ends;
};

class Stage {
 public:
  virtual ~Stage() = default;
  // Reads its inputs from state.values and puts its outputs there. Thread-safe; throws what torch throws.
  virtual void Run(RunState& state, Scratch& scratch) const = 0;
};

}  // namespace recpile
