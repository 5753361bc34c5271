// FBGEMM's table-batched lookup: one call for features whose rows it reads.
#pragma once

#include <ATen/core/dispatch/Dispatcher.h>

#include <array>
#include <span>

#include "artifact/artifact.h"
#include "execute/gather_bags.h"
#include "execute/stage.h"

namespace recpile {

class FbgemmLookup {
 public:
  // Whether it reads the rows of this table. Of bf16 it does not: bf16_lookup.h does.
  static bool Reads(const Table& table);

  // Of `features`, some or all of the spec's. FBGEMM must be loaded (LoadFbgemm). `tables`, in which each table lies at
  // the artifact's offset, must outlive this.
  FbgemmLookup(const StageSpec& spec, std::span<const LookupFeature> features, const Artifact& artifact,
               std::span<const std::byte> tables);

  // fp32 or bf16 [bags, dims of its features], or [ids, dim] without pooling. Its features are the first ones of
  // `bags`; the rows of ids beyond them are zeros.
  at::Tensor Run(const Bags& bags) const;

 private:
  const int64_t features_;
  const int64_t pooling_;
  const int64_t output_type_;
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
