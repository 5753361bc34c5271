// A table-batched lookup: one FBGEMM call over packed tables in the mapped artifact.
#pragma once

#include <ATen/core/dispatch/Dispatcher.h>

#include "artifact/artifact.h"
#include "execute/stage.h"

namespace recpile {

class EmbeddingStage final : public Stage {
 public:
  // FBGEMM must be loaded (LoadFbgemm). Keeps a reference to `artifact`, whose mapping holds the tables.
  EmbeddingStage(const StageSpec& spec, const Artifact& artifact);

  void Run(RunState& state) const override;

 private:
  // Ids and offsets of all features, one behind the other, as FBGEMM takes them.
  struct Bags {
    at::Tensor ids;
    at::Tensor offsets;
    at::Tensor weights;  // undefined if unweighted
  };
  Bags Gather(RunState& state) const;
  void CheckIds(const Bags& bags, int64_t batch) const;

  const StageSpec& spec_;
  const Artifact& artifact_;
  // Every row of the one source, in order: ids go to FBGEMM as they are.
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
  int64_t most_int8_ = 0;
  int64_t most_fp16_ = 0;
  int64_t most_fp32_ = 0;
};

}  // namespace recpile
