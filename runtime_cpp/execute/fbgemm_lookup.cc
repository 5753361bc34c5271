#include "execute/fbgemm_lookup.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <string_view>
#include <vector>

namespace recpile {
namespace {

// FBGEMM's PlacementType.
constexpr int32_t kHost = 3;
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

bool FbgemmLookup::Reads(const Table& table) { return table.dtype != "bf16"; }

FbgemmLookup::FbgemmLookup(const StageSpec& spec, std::span<const LookupFeature> features, const Artifact& artifact,
                           std::span<const std::byte> tables)
    : features_(static_cast<int64_t>(features.size())),
      pooling_(static_cast<int64_t>(spec.pooling)),
      output_type_(spec.bf16 ? kBf16 : kFp32),
      operator_(c10::Dispatcher::singleton().findSchemaOrThrow(
          "fbgemm::int_nbit_split_embedding_codegen_lookup_function", "")) {
  std::vector<int64_t> offsets;
  std::vector<uint8_t> types;
  std::vector<int32_t> dim_offsets = {0};
  for (const LookupFeature& feature : features) {
    const Table& table = artifact.manifest().tables[static_cast<size_t>(feature.table)];
    offsets.push_back(static_cast<int64_t>(artifact.table_offset(table)));
    types.push_back(TypeOf(table));
    most_[types.back()] = std::max(most_[types.back()], table.dim);
    total_dim_ += table.dim;
    dim_offsets.push_back(static_cast<int32_t>(total_dim_));
  }
  bytes_ = at::from_blob(const_cast<std::byte*>(tables.data()), {static_cast<int64_t>(tables.size())}, at::kByte);
  no_bytes_ = at::empty({0}, at::kByte);
  placements_ = Copied(std::vector<int32_t>(features.size(), kHost));
  table_offsets_ = Copied(offsets);
  types_ = Copied(types);
  dim_offsets_ = Copied(dim_offsets);
}

at::Tensor FbgemmLookup::Run(const Bags& bags) const {
  const at::Tensor offsets = bags.offsets.narrow(0, 0, features_ * bags.bags + 1);
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
                             offsets,
                             pooling_,
                             bags.weights.defined() ? c10::IValue(bags.weights) : absent,
                             /*output_dtype=*/output_type_,
                             /*lxu_cache_weights=*/absent,
                             /*lxu_cache_locations=*/absent,
                             /*row_alignment=*/absent,
                             /*max_float8_D=*/int64_t{0},
                             /*fp8_exponent_bits=*/int64_t{-1},
                             /*fp8_exponent_bias=*/int64_t{-1}};
  operator_.callBoxed(stack);
  return std::move(stack[0]).toTensor();
}

}  // namespace recpile
