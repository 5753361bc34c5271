// A table-batched lookup: one FBGEMM call over packed tables in the mapped artifact.
#pragma once

#include <ATen/core/dispatch/Dispatcher.h>

#include <array>

#include "artifact/artifact.h"
#include "execute/gather_bags.h"
#include "execute/stage.h"

namespace recpile {

class EmbeddingStage final : public Stage {
 public:
  // FBGEMM must be loaded (LoadFbgemm). Keeps a reference to `artifact`, whose mapping holds the tables.
  EmbeddingStage(const StageSpec& spec, const Artifact& artifact);

  void Run(RunState& state, Scratch& scratch) const override;

 private:
  void CheckIds(const Bags& bags, bool made_up, Scratch& scratch) const;
  at::Tensor LookUp(const Bags& bags) const;
  // [ids in the features' order, dim] -> [ids in the source's order, dim], zero where no feature looks.
  at::Tensor Unordered(const at::Tensor& rows, const Bags& bags, const RunState& state, const Scratch& scratch) const;

  const StageSpec& spec_;
  const Artifact& artifact_;
  // Ids go to FBGEMM as they are.
  bool straight_ = false;
  // Some ids, lengths or weights come from a stage in front of this one, so no request check has seen them.
  bool unchecked_ = false;
  c10::OperatorHandle operator_;
  // Over the whole mapped file; tables are offsets into it.
  at::Tensor bytes_;
  at::Tensor no_bytes_;
  at::Tensor placements_;
  at::Tensor table_offsets_;
  at::Tensor types_;
  at::Tensor dim_offsets_;
  int64_t total_dim_ = 0;
  // The longest row of each of FBGEMM's SparseTypes.
  std::array<int64_t, 5> most_ = {};
};

}  // namespace recpile
