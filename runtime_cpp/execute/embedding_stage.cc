#include "execute/embedding_stage.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <stdexcept>
#include <string_view>

namespace recpile {
namespace {

// FBGEMM's PlacementType.
constexpr int32_t kHost = 3;
// What FBGEMM takes for the id of a row that was pruned: it adds nothing to a sum.
constexpr int64_t kZeroRow = -1;
// FBGEMM's SparseType numbers.
enum SparseType : uint8_t { kFp32, kFp16, kInt8, kInt4, kInt2, kBf16 };
constexpr std::array<std::string_view, 5> kTypeNames = {"fp32", "fp16", "int8", "int4", "int2"};

uint8_t TypeOf(const Table& table) {
  return static_cast<uint8_t>(std::find(kTypeNames.begin(), kTypeNames.end(), table.dtype) - kTypeNames.begin());
}

template <typename T>
at::Tensor Copied(const std::vector<T>& values) {
  return at::tensor(at::ArrayRef<T>(values), at::CppTypeToScalarType<T>::value);
}

}  // namespace

EmbeddingStage::EmbeddingStage(const StageSpec& spec, const Artifact& artifact, std::span<const std::byte> tables,
                               OutOfRange out_of_range)
    : spec_(spec),
      artifact_(artifact),
      out_of_range_(out_of_range),
      operator_(c10::Dispatcher::singleton().findSchemaOrThrow(
          "fbgemm::int_nbit_split_embedding_codegen_lookup_function", "")) {
  const Manifest& manifest = artifact.manifest();
  const auto inputs = static_cast<ValueId>(manifest.inputs.size());
  std::vector<int64_t> offsets;
  std::vector<uint8_t> types;
  std::vector<int32_t> dim_offsets = {0};
  for (const LookupSource& source : spec.sources) {
    unchecked_ = unchecked_ || source.values >= inputs || source.lengths >= inputs || source.weights >= inputs;
  }
  straight_ = IsStraight(manifest, spec);
  for (const LookupFeature& feature : spec.features) {
    const Table& table = manifest.tables[static_cast<size_t>(feature.table)];
    offsets.push_back(static_cast<int64_t>(artifact.table_offset(table)));
    types.push_back(TypeOf(table));
    most_[types.back()] = std::max(most_[types.back()], table.dim);
    total_dim_ += table.dim;
    const LookupSource& source = spec.sources[static_cast<size_t>(feature.source)];
    checked_ids_.push_back(source.values < inputs && source.lengths < inputs);
    dim_offsets.push_back(static_cast<int32_t>(total_dim_));
  }
  bytes_ = at::from_blob(const_cast<std::byte*>(tables.data()), {static_cast<int64_t>(tables.size())}, at::kByte);
  no_bytes_ = at::empty({0}, at::kByte);
  placements_ = Copied(std::vector<int32_t>(spec.features.size(), kHost));
  table_offsets_ = Copied(offsets);
  types_ = Copied(types);
  dim_offsets_ = Copied(dim_offsets);
}

void EmbeddingStage::Count(const Bags& bags, Scratch& scratch) const {
  const auto* offsets = bags.offsets.const_data_ptr<int64_t>();
  scratch.counts.assign(spec_.features.size(), {});
  for (size_t f = 0; f < spec_.features.size(); ++f) {
    const auto first = static_cast<int64_t>(f) * bags.bags;
    scratch.counts[f].lookups = static_cast<uint64_t>(offsets[first + bags.bags] - offsets[first]);
  }
}

void EmbeddingStage::CheckIds(const Bags& bags, bool made_up, Scratch& scratch) const {
  const auto* offsets = bags.offsets.const_data_ptr<int64_t>();
  std::vector<int64_t>& ids = scratch.ids;  // gathered: only what has been checked is looked up in place
  std::string wrong;
  for (size_t f = 0; f < spec_.features.size(); ++f) {
    const Table& table = artifact_.manifest().tables[static_cast<size_t>(spec_.features[f].table)];
    const auto first = static_cast<int64_t>(f) * bags.bags;
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
    if (!checked_ids_[f]) scratch.counts[f].out_of_range = outside;
  }
  if (!wrong.empty() && out_of_range_ == OutOfRange::kError && !made_up) throw std::out_of_range(wrong);
}

at::Tensor EmbeddingStage::LookUp(const Bags& bags) const {
  const auto absent = c10::IValue();
  torch::jit::Stack stack = {bytes_,
                             no_bytes_,
                             placements_,
                             table_offsets_,
                             types_,
                             dim_offsets_,
                             total_dim_,
                             most_[kInt2],
                             most_[kInt4],
                             most_[kInt8],
                             most_[kFp16],
                             most_[kFp32],
                             bags.ids,
                             bags.offsets,
                             static_cast<int64_t>(spec_.pooling),
                             bags.weights.defined() ? c10::IValue(bags.weights) : absent,
                             /*output_dtype=*/int64_t{spec_.bf16 ? kBf16 : kFp32},
                             /*lxu_cache_weights=*/absent,
                             /*lxu_cache_locations=*/absent,
                             /*row_alignment=*/absent,
                             /*max_float8_D=*/int64_t{0},
                             /*fp8_exponent_bits=*/int64_t{-1},
                             /*fp8_exponent_bias=*/int64_t{-1}};
  operator_.callBoxed(stack);
  return std::move(stack[0]).toTensor();
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
  for (const LookupFeature& feature : spec_.features) {
    const int64_t start = ends[static_cast<size_t>(feature.row * bags.bags)];
    const int64_t size = ends[static_cast<size_t>((feature.row + 1) * bags.bags)] - start;
    std::copy_n(from, size * row_bytes, to + start * row_bytes);
    from += size * row_bytes;
  }
  return all;
}

void EmbeddingStage::Run(RunState& state, Scratch& scratch) const {
  const bool straight = straight_ && !state.out_of_range;
  const Bags bags = straight ? GatherStraight(spec_, state, scratch) : Gather(spec_, state, scratch);
  Count(bags, scratch);
  // FBGEMM's own check infers a table's rows from where the next one begins, which alignment makes too many.
  if (unchecked_ || state.out_of_range) CheckIds(bags, state.made_up, scratch);
  at::Tensor rows = LookUp(bags);
  if (spec_.pooling == Pooling::kNone && !straight) rows = Unordered(rows, bags, state, scratch);
  state.values[static_cast<size_t>(spec_.outputs[0])] = std::move(rows);
}

}  // namespace recpile
