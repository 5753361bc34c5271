#include "coalesce/check_ids.h"

#include <string>

namespace recpile {
namespace {

// Ids of a tensor: `count` pieces of `size`, the first at `start`, each `stride` behind the one before.
struct IdRange {
  size_t start = 0;
  size_t count = 1;
  size_t stride = 0;
  size_t size = 0;
};

// Ids that a table does not have: how many, and the place of the first.
struct OutOfRangeIds {
  uint64_t count = 0;
  size_t first = 0;
};

template <typename T>
OutOfRangeIds FindOutOfRange(const Tensor& values, const IdRange& range, int64_t rows) {
  const T* ids = values.as<T>().data();
  OutOfRangeIds found;
  for (size_t n = 0; n < range.count; ++n) {
    const size_t start = range.start + n * range.stride, end = start + range.size;
    // Branch-free over the whole piece, for it is nearly always clean: negative ids wrap to huge ones.
    bool clean = true;
    for (size_t i = start; i < end; ++i)
      clean &= static_cast<uint64_t>(static_cast<int64_t>(ids[i])) < static_cast<uint64_t>(rows);
    if (clean) continue;
    for (size_t i = start; i < end; ++i) {
      if (ids[i] >= 0 && ids[i] < rows) continue;
      if (found.count++ == 0) found.first = i;
    }
  }
  return found;
}

IdRange RangeOf(const LookupSource& source, const LookupFeature& feature, const SegmentedInput& input) {
  const size_t bytes = DTypeBytes(input.tensor.dtype);
  const auto row = static_cast<size_t>(feature.row);
  if (!source.fixed()) {
    return {.start = input.segments[row].begin / bytes, .size = input.segments[row].size() / bytes};
  }
  const auto columns = static_cast<size_t>(source.columns), ids = input.tensor.data.size() / bytes;
  if (feature.size == source.columns) return {.size = ids};
  return {.start = row, .count = ids / columns, .stride = columns, .size = static_cast<size_t>(feature.size)};
}

std::string Describe(const Manifest& manifest, size_t input, const SegmentedInput& given, size_t at,
                     const LookupFeature& feature, bool fixed) {
  const bool wide = given.tensor.dtype == DType::kInt64;
  const int64_t id = wide ? given.tensor.as<int64_t>()[at] : given.tensor.as<int32_t>()[at];
  const Table& table = manifest.tables[static_cast<size_t>(feature.table)];
  const auto& keys = manifest.inputs[input].key_names;
  return "input '" + given.tensor.name + "' has id " + std::to_string(id) + " at index " + std::to_string(at) +
         (!fixed && !keys.empty() ? " (key '" + keys[static_cast<size_t>(feature.row)] + "')" : "") + "; table '" +
         table.name + "' has ids 0 to " + std::to_string(table.rows - 1);
}

}  // namespace

Status CheckIds(const Manifest& manifest, const IdPolicy& policy, CheckedRequest& request) {
  const std::vector<SegmentedInput>& inputs = request.inputs;
  std::string wrong;
  for (const StageSpec& stage : manifest.stages) {
    for (const LookupFeature& feature : stage.features) {
      const LookupSource& source = stage.sources[static_cast<size_t>(feature.source)];
      const auto at = static_cast<size_t>(source.values);
      // What a stage computes, the lookup checks; so too where a stage says whose ids they are.
      if (at >= inputs.size() || source.lengths >= static_cast<ValueId>(inputs.size())) continue;
      const SegmentedInput& input = inputs[at];
      const Table& table = manifest.tables[static_cast<size_t>(feature.table)];
      const IdRange range = RangeOf(source, feature, input);
      const bool wide = input.tensor.dtype == DType::kInt64;
      const OutOfRangeIds found = wide ? FindOutOfRange<int64_t>(input.tensor, range, table.rows)
                                       : FindOutOfRange<int32_t>(input.tensor, range, table.rows);
      if (found.count == 0) continue;
      if (policy.count) policy.count(feature.table, found.count);
      if (wrong.empty()) wrong = Describe(manifest, at, input, found.first, feature, source.fixed());
    }
  }
  if (wrong.empty()) return {};
  if (policy.out_of_range == OutOfRange::kError) return Status::InvalidArgument(wrong);
  request.out_of_range = true;
  return {};
}

}  // namespace recpile
