#include "execute/embedding_stage.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <stdexcept>

namespace recpile {
namespace {

// FBGEMM's numbers: PlacementType, SparseType, PoolingMode.
constexpr int32_t kHost = 3;
constexpr uint8_t kFp32 = 0;
constexpr uint8_t kFp16 = 1;
constexpr uint8_t kInt8 = 2;
constexpr int64_t kSum = 0;
constexpr int64_t kMean = 1;
// A bag longer than this is nonsense, and totals of such lengths cannot overflow.
constexpr int64_t kMostIds = int64_t{1} << 31;

template <typename T>
at::Tensor Copied(const std::vector<T>& values) {
  return at::tensor(at::ArrayRef<T>(values), at::CppTypeToScalarType<T>::value);
}

// Running totals of `lengths`, starting with 0. Those of a request have been checked; those that a stage computed have
// not.
template <typename T>
void Accumulate(const at::Tensor& lengths, std::vector<int64_t>& ends) {
  const T* from = lengths.const_data_ptr<T>();
  const auto count = static_cast<size_t>(lengths.numel());
  ends.resize(count + 1);
  ends[0] = 0;
  for (size_t i = 0; i < count; ++i) {
    if (from[i] < 0 || from[i] > kMostIds) throw std::out_of_range("its lengths hold " + std::to_string(from[i]));
    ends[i + 1] = ends[i] + static_cast<int64_t>(from[i]);
  }
}

void Accumulate(const at::Tensor& lengths, std::vector<int64_t>& ends) {
  lengths.scalar_type() == at::kLong ? Accumulate<int64_t>(lengths, ends) : Accumulate<int32_t>(lengths, ends);
}

at::Tensor View(std::vector<int64_t>& values) {
  return at::from_blob(values.data(), {static_cast<int64_t>(values.size())}, at::kLong);
}

}  // namespace

EmbeddingStage::EmbeddingStage(const StageSpec& spec, const Artifact& artifact)
    : spec_(spec),
      artifact_(artifact),
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
  // Short-circuits: only a source that is an input has an entry in manifest.inputs.
  straight_ = !unchecked_ && spec.sources.size() == 1 &&
              manifest.inputs[static_cast<size_t>(spec.sources[0].lengths)].keys ==
                  static_cast<int64_t>(spec.features.size()) &&
              manifest.inputs[static_cast<size_t>(spec.sources[0].values)].spec.dtype == DType::kInt64;
  for (size_t f = 0; f < spec.features.size(); ++f) {
    const LookupFeature& feature = spec.features[f];
    const Table& table = manifest.tables[static_cast<size_t>(feature.table)];
    straight_ = straight_ && feature.row == static_cast<int64_t>(f);
    offsets.push_back(static_cast<int64_t>(artifact.table_offset(table)));
    types.push_back(table.dtype == "int8" ? kInt8 : table.dtype == "fp16" ? kFp16 : kFp32);
    int64_t& most = types.back() == kInt8 ? most_int8_ : types.back() == kFp16 ? most_fp16_ : most_fp32_;
    most = std::max(most, table.dim);
    total_dim_ += table.dim;
    dim_offsets.push_back(static_cast<int32_t>(total_dim_));
  }
  const auto bytes = artifact.bytes();
  bytes_ = at::from_blob(const_cast<std::byte*>(bytes.data()), {static_cast<int64_t>(bytes.size())}, at::kByte);
  no_bytes_ = at::empty({0}, at::kByte);
  placements_ = Copied(std::vector<int32_t>(spec.features.size(), kHost));
  table_offsets_ = Copied(offsets);
  types_ = Copied(types);
  dim_offsets_ = Copied(dim_offsets);
}

EmbeddingStage::Bags EmbeddingStage::Gather(RunState& state) const {
  // A stage may give a strided view; what comes from a request is contiguous already, and this costs nothing.
  const auto value = [&](ValueId id) { return state.values[static_cast<size_t>(id)].contiguous(); };
  const bool weighted = spec_.sources[0].weights >= 0;
  if (straight_) {
    const LookupSource& source = spec_.sources[0];
    Accumulate(value(source.lengths), state.offsets);
    return {value(source.values), View(state.offsets), weighted ? value(source.weights) : at::Tensor()};
  }
  state.source_ends.resize(spec_.sources.size());
  for (size_t s = 0; s < spec_.sources.size(); ++s) Accumulate(value(spec_.sources[s].lengths), state.source_ends[s]);
  state.offsets.assign(1, 0);
  state.ids.clear();
  state.weights.clear();
  for (const LookupFeature& feature : spec_.features) {
    const auto s = static_cast<size_t>(feature.source);
    const LookupSource& source = spec_.sources[s];
    const std::vector<int64_t>& ends = state.source_ends[s];
    const auto batch = static_cast<size_t>(state.values[static_cast<size_t>(source.lengths)].sizes().back());
    const size_t first = static_cast<size_t>(feature.row) * batch;
    if (first + batch >= ends.size())
      throw std::runtime_error("its lengths have no row " + std::to_string(feature.row));
    const int64_t start = ends[first], end = ends[first + batch];
    const int64_t shift = state.offsets.back() - start;
    for (size_t b = 1; b <= batch; ++b) state.offsets.push_back(ends[first + b] + shift);
    const at::Tensor values = value(source.values);
    if (end > values.numel()) throw std::out_of_range("its lengths sum to more than its values");
    if (values.scalar_type() == at::kLong) {
      const auto* ids = values.const_data_ptr<int64_t>();
      state.ids.insert(state.ids.end(), ids + start, ids + end);
    } else {
      const auto* ids = values.const_data_ptr<int32_t>();
      state.ids.insert(state.ids.end(), ids + start, ids + end);
    }
    if (weighted) {
      const at::Tensor weights = value(source.weights);
      if (end > weights.numel()) throw std::out_of_range("its lengths sum to more than its weights");
      const auto* all = weights.const_data_ptr<float>();
      state.weights.insert(state.weights.end(), all + start, all + end);
    }
  }
  return {View(state.ids), View(state.offsets),
          weighted ? at::from_blob(state.weights.data(), {static_cast<int64_t>(state.weights.size())}, at::kFloat)
                   : at::Tensor()};
}

void EmbeddingStage::CheckIds(const Bags& bags, int64_t batch) const {
  const auto* offsets = bags.offsets.const_data_ptr<int64_t>();
  const auto* ids = bags.ids.const_data_ptr<int64_t>();
  for (size_t f = 0; f < spec_.features.size(); ++f) {
    const Table& table = artifact_.manifest().tables[static_cast<size_t>(spec_.features[f].table)];
    for (int64_t i = offsets[static_cast<int64_t>(f) * batch]; i < offsets[static_cast<int64_t>(f + 1) * batch]; ++i) {
      if (ids[i] >= 0 && ids[i] < table.rows) continue;
      throw std::out_of_range("id " + std::to_string(ids[i]) + " is outside table '" + table.name +
                              "', which has ids 0 to " + std::to_string(table.rows - 1));
    }
  }
}

void EmbeddingStage::Run(RunState& state) const {
  const Bags bags = Gather(state);
  const auto batch = (bags.offsets.numel() - 1) / static_cast<int64_t>(spec_.features.size());
  // FBGEMM's own check infers a table's rows from where the next one begins, which alignment makes too many.
  if (unchecked_) CheckIds(bags, batch);
  const auto absent = c10::IValue();
  torch::jit::Stack stack = {bytes_,
                             no_bytes_,
                             placements_,
                             table_offsets_,
                             types_,
                             dim_offsets_,
                             total_dim_,
                             /*max_int2_D=*/int64_t{0},
                             /*max_int4_D=*/int64_t{0},
                             most_int8_,
                             most_fp16_,
                             most_fp32_,
                             bags.ids,
                             bags.offsets,
                             spec_.mean_pooling ? kMean : kSum,
                             bags.weights.defined() ? c10::IValue(bags.weights) : absent,
                             /*output_dtype=*/int64_t{kFp32},
                             /*lxu_cache_weights=*/absent,
                             /*lxu_cache_locations=*/absent,
                             /*row_alignment=*/absent,
                             /*max_float8_D=*/int64_t{0},
                             /*fp8_exponent_bits=*/int64_t{-1},
                             /*fp8_exponent_bias=*/int64_t{-1}};
  operator_.callBoxed(stack);
  state.values[static_cast<size_t>(spec_.outputs[0])] = std::move(stack[0]).toTensor();
}

}  // namespace recpile
