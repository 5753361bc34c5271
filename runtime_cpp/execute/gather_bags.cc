#include "execute/gather_bags.h"

#include <ATen/ops/from_blob.h>

#include <stdexcept>
#include <string>

namespace recpile {
namespace {

// A bag longer than this is nonsense, and totals of such lengths cannot overflow.
constexpr int64_t kMostIds = int64_t{1} << 31;

// A stage may give a strided view; what comes from a request is contiguous already, and this costs nothing.
at::Tensor Contiguous(const RunState& state, ValueId id) { return state.values[static_cast<size_t>(id)].contiguous(); }

template <typename T>
at::Tensor View(std::vector<T>& values) {
  return at::from_blob(values.data(), {static_cast<int64_t>(values.size())}, at::CppTypeToScalarType<T>::value);
}

// Running totals of `lengths`, starting with 0.
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

// One source of this run.
struct Source {
  at::Tensor values;
  at::Tensor weights;  // undefined if unweighted
  int64_t columns = 0;
  int64_t bags = 0;
};

Source Open(const LookupSource& spec, const RunState& state, std::vector<int64_t>& ends) {
  Source source{Contiguous(state, spec.values), {}, spec.columns, 0};
  if (spec.fixed()) {
    source.bags = source.values.numel() / spec.columns;
    if (source.values.numel() % spec.columns != 0) {
      throw std::runtime_error(std::to_string(source.values.numel()) + " ids cannot be cut into bags of " +
                               std::to_string(spec.columns));
    }
  } else {
    const at::Tensor lengths = Contiguous(state, spec.lengths);
    if (lengths.dim() < 1) throw std::runtime_error("its lengths are one number");
    Accumulate(lengths, ends);
    source.bags = lengths.size(-1);
    if (ends.back() > source.values.numel()) throw std::out_of_range("its lengths sum to more than its values");
  }
  if (spec.weights >= 0) {
    source.weights = Contiguous(state, spec.weights);
    if (source.weights.numel() != source.values.numel()) {
      throw std::runtime_error("it has " + std::to_string(source.weights.numel()) + " weights for " +
                               std::to_string(source.values.numel()) + " ids");
    }
  }
  return source;
}

// Puts bag n = from[n * stride, n * stride + size) of `count` bags behind what is in `to`.
template <typename From, typename To>
void Append(const From* from, int64_t count, int64_t stride, int64_t size, std::vector<To>& to) {
  if (stride == size) {
    to.insert(to.end(), from, from + count * size);
    return;
  }
  for (int64_t n = 0; n < count; ++n) to.insert(to.end(), from + n * stride, from + n * stride + size);
}

void AppendAll(const Source& source, int64_t first, int64_t count, int64_t stride, int64_t size, Scratch& scratch) {
  if (count == 0) return;
  if (source.values.scalar_type() == at::kLong) {
    Append(source.values.const_data_ptr<int64_t>() + first, count, stride, size, scratch.ids);
  } else {
    Append(source.values.const_data_ptr<int32_t>() + first, count, stride, size, scratch.ids);
  }
  if (source.weights.defined()) {
    Append(source.weights.const_data_ptr<float>() + first, count, stride, size, scratch.weights);
  }
}

void AppendJagged(const Source& source, const std::vector<int64_t>& ends, int64_t row, Scratch& scratch) {
  const auto first = static_cast<size_t>(row * source.bags), bags = static_cast<size_t>(source.bags);
  if (first + bags >= ends.size()) throw std::runtime_error("its lengths have no row " + std::to_string(row));
  const int64_t start = ends[first], end = ends[first + bags];
  const int64_t shift = scratch.offsets.back() - start;
  for (size_t b = 1; b <= bags; ++b) scratch.offsets.push_back(ends[first + b] + shift);
  AppendAll(source, start, 1, end - start, end - start, scratch);
}

void AppendFixed(const Source& source, const LookupFeature& feature, Scratch& scratch) {
  int64_t at = scratch.offsets.back();
  for (int64_t n = 0; n < source.bags; ++n) scratch.offsets.push_back(at += feature.size);
  AppendAll(source, feature.row, source.bags, source.columns, feature.size, scratch);
}

}  // namespace

bool IsStraight(const Manifest& manifest, const StageSpec& spec) {
  const auto inputs = static_cast<ValueId>(manifest.inputs.size());
  if (spec.sources.size() != 1) return false;
  const LookupSource& source = spec.sources[0];
  if (source.values >= inputs || source.lengths >= inputs || source.weights >= inputs) return false;
  if (manifest.inputs[static_cast<size_t>(source.values)].spec.dtype != DType::kInt64) return false;
  if (source.fixed()) return spec.features.size() == 1 && spec.features[0].size == source.columns;
  const int64_t keys = manifest.inputs[static_cast<size_t>(source.lengths)].keys;
  if (keys != static_cast<int64_t>(spec.features.size())) return false;
  for (int64_t f = 0; f < keys; ++f) {
    if (spec.features[static_cast<size_t>(f)].row != f) return false;
  }
  return true;
}

Bags GatherStraight(const StageSpec& spec, const RunState& state, Scratch& scratch) {
  const LookupSource& one = spec.sources[0];
  const Source source = Open(one, state, scratch.offsets);
  if (one.fixed()) {
    scratch.offsets.resize(static_cast<size_t>(source.bags) + 1);
    for (int64_t n = 0; n <= source.bags; ++n) scratch.offsets[static_cast<size_t>(n)] = n * one.columns;
  }
  return {source.values.reshape(-1), View(scratch.offsets),
          source.weights.defined() ? source.weights.reshape(-1) : source.weights, source.bags};
}

Bags Gather(const StageSpec& spec, std::span<const LookupFeature> features, const RunState& state, Scratch& scratch) {
  std::vector<Source> sources;
  scratch.source_ends.resize(spec.sources.size());
  for (size_t s = 0; s < spec.sources.size(); ++s) {
    sources.push_back(Open(spec.sources[s], state, scratch.source_ends[s]));
    if (sources[s].bags == sources[0].bags) continue;
    throw std::runtime_error("its sources have " + std::to_string(sources[0].bags) + " and " +
                             std::to_string(sources[s].bags) + " bags");
  }
  scratch.offsets.assign(1, 0);
  scratch.ids.clear();
  scratch.weights.clear();
  for (const LookupFeature& feature : features) {
    const auto s = static_cast<size_t>(feature.source);
    if (spec.sources[s].fixed()) {
      AppendFixed(sources[s], feature, scratch);
    } else {
      AppendJagged(sources[s], scratch.source_ends[s], feature.row, scratch);
    }
  }
  return {View(scratch.ids), View(scratch.offsets), sources[0].weights.defined() ? View(scratch.weights) : at::Tensor(),
          sources[0].bags};
}

}  // namespace recpile
