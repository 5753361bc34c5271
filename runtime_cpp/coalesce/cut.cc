#include "coalesce/cut.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <numeric>

namespace recpile {
namespace {

size_t Sum(const Tensor& lengths, size_t first, size_t count) {
  const auto sum = [&](auto all) {
    return std::accumulate(all.begin() + static_cast<std::ptrdiff_t>(first),
                           all.begin() + static_cast<std::ptrdiff_t>(first + count), size_t{0});
  };
  return lengths.dtype == DType::kInt64 ? sum(lengths.as<int64_t>()) : sum(lengths.as<int32_t>());
}

// The candidates [first, first + count) of a dense input or of lengths: in every key the same rows.
SegmentedInput CutRows(const SegmentedInput& whole, int64_t rows, int64_t first, int64_t count, size_t axis) {
  SegmentedInput piece{whole.tensor, {}};
  piece.tensor.shape[axis] = count;
  for (const Segment& key : whole.segments) {
    const size_t row_bytes = key.size() / static_cast<size_t>(rows);
    const size_t begin = key.begin + static_cast<size_t>(first) * row_bytes;
    piece.segments.push_back({begin, begin + static_cast<size_t>(count) * row_bytes});
  }
  return piece;
}

// Takes from each key the ids of the next candidates; `at` is where those of this piece begin, and then where they end.
class IdCutter {
 public:
  IdCutter(const SegmentedInput& whole, const SegmentedInput& lengths) : whole_(whole), lengths_(lengths) {
    for (const Segment& key : whole.segments) at_.push_back(key.begin);
  }

  SegmentedInput Next(int64_t first, int64_t count) {
    SegmentedInput piece{whole_.tensor, {}};
    const size_t bytes = DTypeBytes(whole_.tensor.dtype);
    size_t ids = 0;
    for (size_t key = 0; key < at_.size(); ++key) {
      const size_t row = lengths_.segments[key].begin / DTypeBytes(lengths_.tensor.dtype);
      const size_t of_key = Sum(lengths_.tensor, row + static_cast<size_t>(first), static_cast<size_t>(count));
      piece.segments.push_back({at_[key], at_[key] + of_key * bytes});
      at_[key] += of_key * bytes;
      ids += of_key;
    }
    piece.tensor.shape[0] = static_cast<int64_t>(ids);
    return piece;
  }

 private:
  const SegmentedInput& whole_;
  const SegmentedInput& lengths_;
  std::vector<size_t> at_;
};

// Appends every piece's share of input `i`, in order.
void CutInput(const Manifest& manifest, const CheckedRequest& request, size_t i, std::vector<CheckedRequest>& pieces) {
  const InputTensor& input = manifest.inputs[i];
  const SegmentedInput& whole = request.inputs[i];
  const bool ids = input.role == InputRole::kValues || input.role == InputRole::kWeights;
  std::optional<IdCutter> cutter;
  if (ids) {
    cutter.emplace(whole, request.inputs[static_cast<size_t>(input.partner)]);
  }
  int64_t first = 0;
  for (CheckedRequest& piece : pieces) {
    if (input.axis == Axis::kRequest) {
      piece.inputs.push_back(whole);
    } else if (ids) {
      piece.inputs.push_back(cutter->Next(first, piece.rows));
    } else {
      piece.inputs.push_back(CutRows(whole, request.rows, first, piece.rows, GrowingAxis(input)));
    }
    first += piece.rows;
  }
}

}  // namespace

std::vector<CheckedRequest> Cut(const Manifest& manifest, const CheckedRequest& request, int64_t most) {
  const int64_t count = (request.rows + most - 1) / most;
  std::vector<CheckedRequest> pieces(static_cast<size_t>(count));
  for (int64_t p = 0; p < count; ++p) {
    pieces[static_cast<size_t>(p)].out_of_range = request.out_of_range;
    pieces[static_cast<size_t>(p)].rows = request.rows / count + (p < request.rows % count ? 1 : 0);
  }
  for (size_t i = 0; i < request.inputs.size(); ++i) CutInput(manifest, request, i, pieces);
  return pieces;
}

CheckedRequest Leading(const Manifest& manifest, const CheckedRequest& request, int64_t rows) {
  std::vector<CheckedRequest> pieces(1);
  pieces[0].rows = rows;
  pieces[0].out_of_range = request.out_of_range;
  for (size_t i = 0; i < request.inputs.size(); ++i) CutInput(manifest, request, i, pieces);
  return std::move(pieces[0]);
}

std::optional<InferResult> Assembly::Add(size_t piece, InferResult answer) {
  const std::lock_guard lock(mutex_);
  answers_[piece] = std::move(answer);
  if (++answered_ < answers_.size()) return std::nullopt;
  try {
    return Joined();
  } catch (const std::bad_alloc&) {
    return Status::Internal("out of memory while joining the answers to the pieces of a request");
  }
}

InferResult Assembly::Joined() const {
  const auto failed = std::ranges::find_if(answers_, [](const auto& answer) { return !answer->ok(); });
  const auto answered = static_cast<size_t>(failed - answers_.begin());
  if (failed != answers_.end()) {
    const Status& status = (*failed)->status();
    if (answered == 0 || partial_rows_.empty() || status.code() != StatusCode::kUnavailable) return status;
  }
  InferResult whole = Joined(std::span(answers_).first(answered));
  for (size_t piece = answered; piece < answers_.size(); ++piece) whole.left_out += partial_rows_[piece];
  return whole;
}

InferResult Assembly::Joined(std::span<const std::optional<InferResult>> answers) const {
  std::vector<Tensor> whole = answers[0]->value();
  for (size_t i = 0; i < whole.size(); ++i) {
    if (manifest_.outputs[i].axis == Axis::kRequest) continue;
    Tensor& joined = whole[i];
    joined.shape[0] = 0;
    auto bytes = std::make_shared<std::vector<std::byte>>();
    for (const auto& answer : answers) {
      const Tensor& part = answer->value()[i];
      if (!std::equal(part.shape.begin() + 1, part.shape.end(), joined.shape.begin() + 1, joined.shape.end())) {
        return Status::Internal("output '" + part.name + "' has rows of another shape in another piece of the request");
      }
      joined.shape[0] += part.shape[0];
      bytes->insert(bytes->end(), part.data.begin(), part.data.end());
    }
    joined.data = *bytes;
    joined.owner = std::move(bytes);
  }
  return whole;
}

}  // namespace recpile
