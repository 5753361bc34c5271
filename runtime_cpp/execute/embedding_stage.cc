#include "execute/embedding_stage.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <stdexcept>

#include "execute/bf16_lookup.h"

namespace recpile {
namespace {

// What FBGEMM takes for the id of a row that was pruned: it adds nothing to a sum.
constexpr int64_t kZeroRow = -1;

}  // namespace

EmbeddingStage::EmbeddingStage(const StageSpec& spec, const Artifact& artifact, std::span<const std::byte> tables,
                               OutOfRange out_of_range)
    : spec_(spec), out_of_range_(out_of_range) {
  const Manifest& manifest = artifact.manifest();
  const auto inputs = static_cast<ValueId>(manifest.inputs.size());
  for (const LookupSource& source : spec.sources) {
    unchecked_ = unchecked_ || source.values >= inputs || source.lengths >= inputs || source.weights >= inputs;
  }
  for (size_t f = 0; f < spec.features.size(); ++f) {
    const LookupFeature& feature = spec.features[f];
    const Table& table = manifest.tables[static_cast<size_t>(feature.table)];
    const LookupSource& source = spec.sources[static_cast<size_t>(feature.source)];
    const bool checked = source.values < inputs && source.lengths < inputs;
    gathered_.push_back({f, &table, tables.data() + artifact.table_offset(table), total_dim_, checked});
    total_dim_ += table.dim;
  }
  const auto bf16 = std::stable_partition(gathered_.begin(), gathered_.end(),
                                          [](const Gathered& one) { return FbgemmLookup::Reads(*one.table); });
  of_fbgemm_ = static_cast<size_t>(bf16 - gathered_.begin());
  for (const Gathered& one : gathered_) features_.push_back(spec.features[one.place]);
  if (of_fbgemm_ > 0) fbgemm_.emplace(spec, std::span(features_).first(of_fbgemm_), artifact, tables);
  straight_ = IsStraight(manifest, spec) && (all_of_fbgemm() || !fbgemm_);
}

void EmbeddingStage::Count(const Bags& bags, Scratch& scratch) const {
  const auto* offsets = bags.offsets.const_data_ptr<int64_t>();
  scratch.counts.assign(gathered_.size(), {});
  for (size_t g = 0; g < gathered_.size(); ++g) {
    const auto first = static_cast<int64_t>(g) * bags.bags;
    scratch.counts[gathered_[g].place].lookups = static_cast<uint64_t>(offsets[first + bags.bags] - offsets[first]);
  }
}

void EmbeddingStage::CheckIds(const Bags& bags, bool made_up, Scratch& scratch) const {
  const auto* offsets = bags.offsets.const_data_ptr<int64_t>();
  std::vector<int64_t>& ids = scratch.ids;  // gathered: only what has been checked is looked up in place
  std::string wrong;
  for (size_t g = 0; g < gathered_.size(); ++g) {
    const Table& table = *gathered_[g].table;
    const auto first = static_cast<int64_t>(g) * bags.bags;
    uint64_t outside = 0;
    for (int64_t i = offsets[first]; i < offsets[first + bags.bags]; ++i) {
      int64_t& id = ids[static_cast<size_t>(i)];
      if (id >= 0 && id < table.rows) continue;
      if (wrong.empty()) {
        wrong = "id " + std::to_string(id) + " is outside table '" + table.name + "', which has ids 0 to " +
                std::to_string(table.rows - 1);
      }
      ++outside;
      id = kZeroRow;
    }
    if (!gathered_[g].checked_ids) scratch.counts[gathered_[g].place].out_of_range = outside;
  }
  if (!wrong.empty() && out_of_range_ == OutOfRange::kError && !made_up) throw std::out_of_range(wrong);
}

at::Tensor EmbeddingStage::LookUp(const Bags& bags) const {
  if (all_of_fbgemm()) return fbgemm_->Run(bags);
  const at::ScalarType type = spec_.bf16 ? at::kBFloat16 : at::kFloat;
  at::Tensor result;
  if (spec_.pooling == Pooling::kNone) {
    result = fbgemm_ ? fbgemm_->Run(bags) : at::zeros({bags.ids.numel(), gathered_[0].table->dim}, type);
  } else {
    result = at::empty({bags.bags, total_dim_}, type);
    if (fbgemm_) Spread(fbgemm_->Run(bags), result);
  }
  LookUpBf16(bags, result);
  return result;
}

void EmbeddingStage::Spread(const at::Tensor& pooled, at::Tensor& result) const {
  const auto element = static_cast<int64_t>(pooled.element_size());
  const auto* from = static_cast<const std::byte*>(pooled.const_data_ptr());
  auto* row = static_cast<std::byte*>(result.mutable_data_ptr());
  for (int64_t bag = 0; bag < pooled.size(0); ++bag, row += total_dim_ * element) {
    for (size_t g = 0; g < of_fbgemm_; ++g) {
      const int64_t bytes = gathered_[g].table->dim * element;
      std::copy_n(from, bytes, row + gathered_[g].column * element);
      from += bytes;
    }
  }
}

void EmbeddingStage::LookUpBf16(const Bags& bags, at::Tensor& result) const {
  const auto* offsets = bags.offsets.const_data_ptr<int64_t>();
  const auto* weights = bags.weights.defined() ? bags.weights.const_data_ptr<float>() : nullptr;
  const auto look_up = [&]<typename To>(To* to) {
    for (size_t g = of_fbgemm_; g < gathered_.size(); ++g) {
      const Table& table = *gathered_[g].table;
      const int64_t* const mine = offsets + static_cast<int64_t>(g) * bags.bags;
      const Bf16Bags all{gathered_[g].rows, table.rows, table.dim, bags.ids.const_data_ptr<int64_t>(), mine,
                         weights,           bags.bags};
      if (spec_.pooling == Pooling::kNone) {
        CopyBf16Rows(all, to + mine[0] * table.dim);
      } else {
        PoolBf16(all, spec_.pooling == Pooling::kMean, to + gathered_[g].column, total_dim_);
      }
    }
  };
  if (spec_.bf16) {
    look_up(static_cast<uint16_t*>(result.mutable_data_ptr()));
  } else {
    look_up(result.mutable_data_ptr<float>());
  }
}

at::Tensor EmbeddingStage::Unordered(const at::Tensor& rows, const Bags& bags, const RunState& state,
                                     const Scratch& scratch) const {
  const at::Tensor& values = state.values[static_cast<size_t>(spec_.sources[0].values)];
  const int64_t dim = rows.size(1);
  at::Tensor all = at::zeros({values.numel(), dim}, rows.scalar_type());
  const auto row_bytes = dim * static_cast<int64_t>(rows.element_size());
  const auto* from = static_cast<const std::byte*>(rows.const_data_ptr());
  auto* const to = static_cast<std::byte*>(all.mutable_data_ptr());
  const std::vector<int64_t>& ends = scratch.source_ends[0];
  for (const LookupFeature& feature : features_) {
    const int64_t start = ends[static_cast<size_t>(feature.row * bags.bags)];
    const int64_t size = ends[static_cast<size_t>((feature.row + 1) * bags.bags)] - start;
    std::copy_n(from, size * row_bytes, to + start * row_bytes);
    from += size * row_bytes;
  }
  return all;
}

void EmbeddingStage::Run(RunState& state, Scratch& scratch) const {
  const bool straight = straight_ && !state.out_of_range;
  const Bags bags = straight ? GatherStraight(spec_, state, scratch) : Gather(spec_, features_, state, scratch);
  Count(bags, scratch);
  // FBGEMM's own check infers a table's rows from where the next one begins, which alignment makes too many.
  if (unchecked_ || state.out_of_range) CheckIds(bags, state.made_up, scratch);
  at::Tensor rows = LookUp(bags);
  if (spec_.pooling == Pooling::kNone && !straight) rows = Unordered(rows, bags, state, scratch);
  state.values[static_cast<size_t>(spec_.outputs[0])] = std::move(rows);
}

}  // namespace recpile
