// CheckRequest on tensors from anywhere; what it accepts is cut, joined and padded, and every id read as a lookup
// would.
#include <fuzzer/FuzzedDataProvider.h>

#include <array>
#include <cstring>
#include <memory>
#include <vector>

#include "coalesce/coalescer.h"
#include "coalesce/cut.h"
#include "fuzz_models.h"

namespace recpile {
namespace {

// Mostly what the model wants, so that deeper checks are reached, and now and then anything at all.
Tensor AnyTensor(FuzzedDataProvider& fuzz, const InputTensor& wanted, int64_t rows) {
  Tensor tensor{wanted.spec.name, wanted.spec.dtype, wanted.spec.shape, {}, nullptr};
  const bool ids = wanted.role == InputRole::kValues || wanted.role == InputRole::kWeights;
  for (int64_t& size : tensor.shape) {
    if (size == -1) size = ids ? fuzz.ConsumeIntegralInRange<int64_t>(0, 12) : rows;
  }
  if (fuzz.ConsumeProbability<float>() < 0.05f) tensor.dtype = static_cast<DType>(fuzz.ConsumeIntegralInRange(0, 8));
  if (fuzz.ConsumeProbability<float>() < 0.05f) {
    tensor.shape.assign(fuzz.ConsumeIntegralInRange<size_t>(0, 3), 0);
    for (int64_t& size : tensor.shape) size = fuzz.ConsumeIntegral<int64_t>();
  }
  size_t elements = 1;
  for (const int64_t size : tensor.shape) elements *= static_cast<size_t>(std::clamp<int64_t>(size, 0, 64));
  if (fuzz.ConsumeProbability<float>() < 0.05f) elements = fuzz.ConsumeIntegralInRange<size_t>(0, 64);
  const size_t bytes = std::min<size_t>(elements, 4096) * DTypeBytes(tensor.dtype);
  // Exactly as large as said, so that a sanitizer sees a read beyond it.
  std::shared_ptr<std::byte[]> memory(new std::byte[bytes]());
  for (size_t at = 0; at + DTypeBytes(tensor.dtype) <= bytes; at += DTypeBytes(tensor.dtype)) {
    const int64_t value = fuzz.ConsumeProbability<float>() < 0.02f ? fuzz.ConsumeIntegral<int64_t>()
                                                                   : fuzz.ConsumeIntegralInRange<int64_t>(0, 3);
    std::memcpy(memory.get() + at, &value, DTypeBytes(tensor.dtype));
  }
  tensor.data = {memory.get(), bytes};
  tensor.owner = std::shared_ptr<const void>(memory, memory.get());
  return tensor;
}

int64_t At(const Tensor& tensor, size_t i) {
  return tensor.dtype == DType::kInt64 ? tensor.as<int64_t>()[i] : tensor.as<int32_t>()[i];
}

// Reads what an embedding stage would read of the batch; traps if that is not there.
void ReadAsLookups(const Manifest& model, const Batch& batch) {
  for (const StageSpec& stage : model.stages) {
    for (const LookupFeature& feature : stage.features) {
      const LookupSource& source = stage.sources[static_cast<size_t>(feature.source)];
      const int64_t table_rows = model.tables[static_cast<size_t>(feature.table)].rows;
      const Tensor& values = batch.inputs[static_cast<size_t>(source.values)];
      const size_t ids = values.data.size() / DTypeBytes(values.dtype);
      const auto check = [&](size_t at) {
        if (at >= ids) __builtin_trap();
        // The stage looks for ids out of range itself where a request said that there are some.
        if (!batch.out_of_range && (At(values, at) < 0 || At(values, at) >= table_rows)) __builtin_trap();
      };
      if (source.fixed()) {
        const auto columns = static_cast<size_t>(source.columns), row = static_cast<size_t>(feature.row);
        for (size_t n = 0; n < ids / columns; ++n) {
          for (size_t i = 0; i < static_cast<size_t>(feature.size); ++i) check(n * columns + row + i);
        }
        continue;
      }
      const Tensor& lengths = batch.inputs[static_cast<size_t>(source.lengths)];
      const auto bags = static_cast<size_t>(lengths.shape.back());
      size_t at = 0;
      for (size_t bag = 0; bag < static_cast<size_t>(feature.row) * bags; ++bag)
        at += static_cast<size_t>(At(lengths, bag));
      for (size_t bag = 0; bag < bags; ++bag) {
        const auto size = static_cast<size_t>(At(lengths, static_cast<size_t>(feature.row) * bags + bag));
        for (size_t i = 0; i < size; ++i) check(at++);
      }
    }
  }
}

}  // namespace
}  // namespace recpile

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace recpile;
  static const std::array<Manifest, 2> models = {testing::Parsed(testing::kToyManifest),
                                                 testing::Parsed(testing::kBothAxesManifest)};
  FuzzedDataProvider fuzz(data, size);
  const Manifest& model = models[fuzz.ConsumeIntegralInRange<size_t>(0, 1)];
  const BatchSizes sizes = fuzz.ConsumeBool() ? BatchSizes::UpTo(16) : BatchSizes();
  const IdPolicy ids{fuzz.ConsumeBool() ? OutOfRange::kZero : OutOfRange::kError};
  std::vector<CheckedRequest> pieces;
  for (size_t requests = fuzz.ConsumeIntegralInRange<size_t>(1, 3); requests > 0; --requests) {
    const auto rows = fuzz.ConsumeIntegralInRange<int64_t>(0, 5);
    InferRequest request;
    for (const InputTensor& input : model.inputs) request.inputs.push_back(AnyTensor(fuzz, input, rows));
    auto checked = CheckRequest(model, std::move(request), ids);
    if (!checked.ok()) continue;
    for (CheckedRequest& piece : Cut(model, checked.value(), fuzz.ConsumeIntegralInRange<int64_t>(1, 4))) {
      pieces.push_back(std::move(piece));
    }
  }
  if (pieces.empty()) return 0;
  std::vector<const CheckedRequest*> batch;
  for (const CheckedRequest& piece : pieces) batch.push_back(&piece);
  BatchBuffers buffers;
  ReadAsLookups(model, Coalesce(model, batch, buffers, sizes));
  return 0;
}
