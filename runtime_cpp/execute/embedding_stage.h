// A table-batched lookup: one FBGEMM call over packed tables, wherever they were placed.
#pragma once

#include <ATen/core/dispatch/Dispatcher.h>

#include <array>
#include <span>

#include "artifact/artifact.h"
#include "execute/gather_bags.h"
#include "execute/stage.h"
#include "recpile/engine.h"

namespace recpile {

class EmbeddingStage final : public Stage {
 public:
  // FBGEMM must be loaded (LoadFbgemm). `artifact` and `tables`, in which each table lies at the artifact's offset,
  // must outlive the stage.
  EmbeddingStage(const StageSpec& spec, const Artifact& artifact, std::span<const std::byte> tables,
                 OutOfRange out_of_range);

  void Run(RunState& state, Scratch& scratch) const override;

 private:
  // By feature, into the scratch, which has been gathered into.
  void Count(const Bags& bags, Scratch& scratch) const;
  // Of gathered bags: puts the row of zeros where the table has none, or throws.
  void CheckIds(const Bags& bags, bool made_up, Scratch& scratch) const;
  at::Tensor LookUp(const Bags& bags) const;
  // [ids in the features' order, dim] -> [ids in the source's order, dim], zero where no feature looks.
  at::Tensor Unordered(const at::Tensor& rows, const Bags& bags, const RunState& state, const Scratch& scratch) const;

  const StageSpec& spec_;
  const Artifact& artifact_;
  OutOfRange out_of_range_;
  // Ids go to FBGEMM as they are.
  bool straight_ = false;
  // Some ids, lengths or weights come from a stage in front of this one, so no request check has seen them.
  bool unchecked_ = false;
  std::vector<bool> checked_ids_;  // by feature: requests have been checked for its ids
  c10::OperatorHandle operator_;
  // Over all of `tables`.
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
