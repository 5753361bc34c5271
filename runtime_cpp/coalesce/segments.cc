#include "coalesce/segments.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "coalesce/check_ids.h"

namespace recpile {
namespace {

std::string KnownInputs(const Manifest& manifest) {
  std::string names;
  for (const InputTensor& input : manifest.inputs) names += (names.empty() ? "" : ", ") + input.spec.name;
  return names;
}

// Puts the tensors into the manifest's order.
Result<std::vector<SegmentedInput>> Arrange(const Manifest& manifest, std::vector<Tensor> tensors) {
  std::vector<SegmentedInput> inputs(manifest.inputs.size());
  std::vector<bool> seen(inputs.size(), false);
  for (Tensor& tensor : tensors) {
    const auto found = std::find_if(manifest.inputs.begin(), manifest.inputs.end(),
                                    [&](const InputTensor& input) { return input.spec.name == tensor.name; });
    if (found == manifest.inputs.end()) {
      return Status::InvalidArgument("unknown input '" + tensor.name + "'; the model's inputs are " +
                                     KnownInputs(manifest));
    }
    const auto at = static_cast<size_t>(found - manifest.inputs.begin());
    if (seen[at]) return Status::InvalidArgument("input '" + tensor.name + "' appears twice");
    seen[at] = true;
    inputs[at].tensor = std::move(tensor);
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (seen[i]) continue;
    return Status::InvalidArgument("input '" + manifest.inputs[i].spec.name + "' is missing; the model's inputs are " +
                                   KnownInputs(manifest));
  }
  return inputs;
}

Status CheckTensor(const InputTensor& input, const Tensor& tensor) {
  const TensorSpec& spec = input.spec;
  if (tensor.dtype != spec.dtype) {
    return Status::InvalidArgument("input '" + spec.name + "' is " + std::string(DTypeName(tensor.dtype)) +
                                   "; expected " + std::string(DTypeName(spec.dtype)));
  }
  bool fits = tensor.shape.size() == spec.shape.size();
  size_t bytes = DTypeBytes(spec.dtype);
  for (size_t i = 0; fits && i < spec.shape.size(); ++i) {
    const int64_t size = tensor.shape[i];
    fits = size >= 0 && (spec.shape[i] == -1 || spec.shape[i] == size);
    if (fits && size > 0 && bytes > std::numeric_limits<size_t>::max() / static_cast<size_t>(size)) fits = false;
    bytes *= static_cast<size_t>(std::max<int64_t>(size, 0));
  }
  if (!fits) {
    return Status::InvalidArgument("input '" + spec.name + "' has shape " + ShapeToString(tensor.shape) +
                                   "; expected " + ShapeToString(spec.shape) +
                                   (input.axis == Axis::kRequest ? ": it has one row for the whole request" : ""));
  }
  if (bytes != tensor.data.size()) {
    return Status::InvalidArgument("input '" + spec.name + "' has " + std::to_string(tensor.data.size()) +
                                   " bytes; its shape " + ShapeToString(tensor.shape) + " needs " +
                                   std::to_string(bytes));
  }
  // A vector of its type is read from it directly.
  if (reinterpret_cast<uintptr_t>(tensor.data.data()) % DTypeBytes(spec.dtype) != 0) {
    return Status::InvalidArgument("input '" + spec.name + "' lies at an address that is not a multiple of " +
                                   std::to_string(DTypeBytes(spec.dtype)) + "; align it to its type");
  }
  return {};
}

// The number of candidates, the same in every tensor that has them; some input has.
Result<int64_t> CountRows(const Manifest& manifest, const std::vector<SegmentedInput>& inputs) {
  const Tensor* first = nullptr;
  int64_t rows = 0;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const InputRole role = manifest.inputs[i].role;
    if (manifest.inputs[i].axis != Axis::kCandidate) continue;
    if (role != InputRole::kDense && role != InputRole::kLengths) continue;
    const Tensor& tensor = inputs[i].tensor;
    const int64_t here = role == InputRole::kDense ? tensor.shape.front() : tensor.shape.back();
    if (first == nullptr) {
      first = &tensor;
      rows = here;
    } else if (here != rows) {
      return Status::InvalidArgument("input '" + tensor.name + "' has " + std::to_string(here) +
                                     " candidates; input '" + first->name + "' has " + std::to_string(rows));
    }
  }
  if (rows == 0) {
    return Status::InvalidArgument("the request is empty: input '" + first->name +
                                   "' has 0 candidates; send at least 1");
  }
  return rows;
}

// The running totals of lengths, one a key. `T` is the type of lengths.
template <typename T>
Result<std::vector<size_t>> KeyTotals(const Tensor& lengths, int64_t keys, int64_t rows, size_t most) {
  std::vector<size_t> ends(static_cast<size_t>(keys));
  const auto all = lengths.as<T>();
  size_t total = 0;
  for (int64_t k = 0; k < keys; ++k) {
    for (int64_t b = 0; b < rows; ++b) {
      const auto at = static_cast<size_t>(k * rows + b);
      const T length = all[at];
      if (length < 0) {
        return Status::InvalidArgument("input '" + lengths.name + "' has " + std::to_string(length) + " at index " +
                                       std::to_string(at) + "; lengths are 0 or more");
      }
      total += static_cast<size_t>(length);
      // Stops at once: a sum of lengths from the wire must not wrap around.
      if (total > most) {
        return Status::InvalidArgument("input '" + lengths.name + "' sums to more than the " + std::to_string(most) +
                                       " ids that came with it");
      }
    }
    ends[static_cast<size_t>(k)] = total;
  }
  return ends;
}

Status CutJagged(const Manifest& manifest, std::vector<SegmentedInput>& inputs, size_t values_at, int64_t rows) {
  const InputTensor& spec = manifest.inputs[values_at];
  SegmentedInput& values = inputs[values_at];
  SegmentedInput& lengths = inputs[static_cast<size_t>(spec.partner)];
  const auto ids = static_cast<size_t>(values.tensor.shape[0]);
  if (spec.axis == Axis::kRequest) rows = 1;
  auto totals = lengths.tensor.dtype == DType::kInt64 ? KeyTotals<int64_t>(lengths.tensor, spec.keys, rows, ids)
                                                      : KeyTotals<int32_t>(lengths.tensor, spec.keys, rows, ids);
  if (!totals.ok()) return totals.status();
  const std::vector<size_t> ends = std::move(totals).value();
  if (ends.back() != ids) {
    return Status::InvalidArgument("input '" + lengths.tensor.name + "' sums to " + std::to_string(ends.back()) +
                                   ", but '" + values.tensor.name + "' has " + std::to_string(ids) + " ids");
  }
  const auto cut = [&](SegmentedInput& input) {
    const size_t bytes = DTypeBytes(input.tensor.dtype);
    size_t begin = 0;
    for (const size_t end : ends) input.segments.push_back({std::exchange(begin, end * bytes), end * bytes});
  };
  cut(values);
  const size_t weights_at = values_at + 2;
  if (weights_at < inputs.size() && manifest.inputs[weights_at].role == InputRole::kWeights) {
    const auto weights = static_cast<size_t>(inputs[weights_at].tensor.shape[0]);
    if (weights != ids) {
      return Status::InvalidArgument("input '" + inputs[weights_at].tensor.name + "' has " + std::to_string(weights) +
                                     " weights, but '" + values.tensor.name + "' has " + std::to_string(ids) + " ids");
    }
    cut(inputs[weights_at]);
  }
  const size_t row_bytes = static_cast<size_t>(rows) * DTypeBytes(lengths.tensor.dtype);
  for (size_t k = 0; k < static_cast<size_t>(spec.keys); ++k) {
    lengths.segments.push_back({k * row_bytes, (k + 1) * row_bytes});
  }
  return {};
}

}  // namespace

Result<CheckedRequest> CheckRequest(const Manifest& manifest, InferRequest request, const IdPolicy& ids) {
  CheckedRequest checked;
  RECPILE_ASSIGN_OR_RETURN(checked.inputs, Arrange(manifest, std::move(request.inputs)));
  for (size_t i = 0; i < checked.inputs.size(); ++i) {
    RECPILE_RETURN_IF_ERROR(CheckTensor(manifest.inputs[i], checked.inputs[i].tensor));
  }
  RECPILE_ASSIGN_OR_RETURN(checked.rows, CountRows(manifest, checked.inputs));
  for (size_t i = 0; i < checked.inputs.size(); ++i) {
    const InputRole role = manifest.inputs[i].role;
    if (role == InputRole::kDense) checked.inputs[i].segments = {{0, checked.inputs[i].tensor.data.size()}};
    if (role == InputRole::kValues) RECPILE_RETURN_IF_ERROR(CutJagged(manifest, checked.inputs, i, checked.rows));
  }
  RECPILE_RETURN_IF_ERROR(CheckIds(manifest, ids, checked));
  return checked;
}

}  // namespace recpile
