// A table-batched lookup over packed tables, wherever they were placed: one FBGEMM call for the rows that FBGEMM reads,
// our own kernel (bf16_lookup.h) for bf16 rows, into one result.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "artifact/artifact.h"
#include "execute/fbgemm_lookup.h"
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
  // A feature in the order in which ids are gathered: first those of FBGEMM, then those of bf16 rows.
  struct Gathered {
    size_t place = 0;  // in spec_.features
    const Table* table = nullptr;
    const std::byte* rows = nullptr;
    int64_t column = 0;        // of the result, where pooled
    bool checked_ids = false;  // requests have been checked for them
  };

  bool all_of_fbgemm() const { return of_fbgemm_ == gathered_.size(); }
  // By feature, into the scratch, which has been gathered into.
  void Count(const Bags& bags, Scratch& scratch) const;
  // Of gathered bags: puts the row of zeros where the table has none, or throws.
  void CheckIds(const Bags& bags, bool made_up, Scratch& scratch) const;
  at::Tensor LookUp(const Bags& bags) const;
  // Pooled rows of FBGEMM's features, which lie side by side, into their columns of the result.
  void Spread(const at::Tensor& pooled, at::Tensor& result) const;
  // The features of bf16 rows, into their columns (without pooling: their rows) of the result.
  void LookUpBf16(const Bags& bags, at::Tensor& result) const;
  // [ids in the order gathered, dim] -> [ids in the source's order, dim], zero where no feature looks.
  at::Tensor Unordered(const at::Tensor& rows, const Bags& bags, const RunState& state, const Scratch& scratch) const;

  const StageSpec& spec_;
  OutOfRange out_of_range_;
  // Ids are looked up where they are.
  bool straight_ = false;
  // Some ids, lengths or weights come from a stage in front of this one, so no request check has seen them.
  bool unchecked_ = false;
  std::vector<Gathered> gathered_;
  std::vector<LookupFeature> features_;  // of gathered_
  size_t of_fbgemm_ = 0;                 // how many of them
  int64_t total_dim_ = 0;
  std::optional<FbgemmLookup> fbgemm_;  // none if all rows are bf16
};

}  // namespace recpile
