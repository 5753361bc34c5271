// Batches at a few fixed sizes: which, and what stands in the rows that nobody sent.
#include <gtest/gtest.h>

#include "coalesce/coalescer.h"
#include "toy_request.h"

namespace recpile {
namespace {

using testing::Candidate;
using testing::Of;
using testing::Replaced;
using testing::ToyModel;
using testing::ToyRequest;
using testing::TwoCandidates;
using testing::Values;

using Ids = std::vector<int64_t>;
using Ids32 = std::vector<int32_t>;

enum { kDense, kIds, kLengths, kWeights, kHistory, kHistoryLengths };

TEST(BatchSizes, ArePowersOfTwoAndWhatIsBetween) {
  EXPECT_EQ(BatchSizes::UpTo(64).all(), (Ids{1, 2, 4, 8, 12, 16, 24, 32, 48, 64}));
  EXPECT_EQ(BatchSizes::UpTo(1).all(), (Ids{1}));
  EXPECT_EQ(BatchSizes::UpTo(3).all(), (Ids{1, 2, 3}));
}

TEST(BatchSizes, EndWithTheLargestBatchWhateverItIs) {
  EXPECT_EQ(BatchSizes::UpTo(10).all(), (Ids{1, 2, 4, 8, 10}));
  EXPECT_EQ(BatchSizes::UpTo(12).all(), (Ids{1, 2, 4, 8, 12}));
  EXPECT_EQ(BatchSizes::UpTo(50).all(), (Ids{1, 2, 4, 8, 12, 16, 24, 32, 48, 50}));
}

TEST(BatchSizes, NextOneHoldsTheRows) {
  const BatchSizes sizes = BatchSizes::UpTo(64);
  EXPECT_EQ(sizes.AtLeast(1), 1);
  EXPECT_EQ(sizes.AtLeast(5), 8);
  EXPECT_EQ(sizes.AtLeast(33), 48);
  EXPECT_EQ(sizes.AtLeast(64), 64);
  EXPECT_EQ(sizes.AtLeast(65), 65);
  EXPECT_EQ(BatchSizes().AtLeast(5), 5);
}

CheckedRequest Checked(InferRequest request) {
  auto checked = CheckRequest(ToyModel(), std::move(request));
  if (!checked.ok()) ADD_FAILURE() << checked.status().message();
  return std::move(checked).value();
}

// Three candidates in two requests.
std::vector<CheckedRequest> TwoRequests() {
  const Candidate alone[] = {{{5, 6}, {{4, 1}}, {{16, 1}}, {10, 11}}};
  return {Checked(TwoCandidates()), Checked(ToyRequest(alone))};
}

TEST(Padding, RowsThatNobodySentAreTheLastOneWithEmptyBags) {
  const std::vector<CheckedRequest> requests = TwoRequests();
  const CheckedRequest* const both[] = {&requests[0], &requests[1]};
  BatchBuffers buffers;
  const Batch batch = Coalesce(ToyModel(), both, buffers, BatchSizes::UpTo(8));
  EXPECT_EQ(batch.candidates, 4);
  EXPECT_EQ(batch.inputs[kDense].shape, (Shape{4, 2}));
  EXPECT_EQ(Values<float>(batch.inputs[kDense]), (std::vector<float>{1, 2, 3, 4, 5, 6, 5, 6}));
  EXPECT_EQ(batch.inputs[kLengths].shape, (Shape{2, 4}));
  EXPECT_EQ(Values<int64_t>(batch.inputs[kLengths]), (Ids{2, 1, 1, 0, /* size */ 0, 1, 1, 0}));
  EXPECT_EQ(Values<int32_t>(batch.inputs[kHistoryLengths]), (Ids32{1, 2, 2, 0}));
}

TEST(Padding, IdsStayAsTheyAre) {
  const std::vector<CheckedRequest> requests = TwoRequests();
  const CheckedRequest* const both[] = {&requests[0], &requests[1]};
  BatchBuffers buffers;
  const Batch padded = Coalesce(ToyModel(), both, buffers, BatchSizes::UpTo(8));
  EXPECT_EQ(Values<int64_t>(padded.inputs[kIds]), (Ids{1, 2, 3, 4, /* size */ 15, 16}));
  EXPECT_EQ(padded.inputs[kIds].shape, Shape{6});
  EXPECT_EQ(padded.inputs[kWeights].shape, Shape{6});
}

TEST(Padding, OneRequestIsPaddedTooButItsIdsAreNotCopied) {
  const Candidate three[] = {{{1, 2}, {}, {}, {1}}, {{3, 4}, {}, {}, {2}}, {{5, 6}, {{9, 1}}, {}, {3}}};
  const CheckedRequest alone = Checked(ToyRequest(three));
  const CheckedRequest* const one[] = {&alone};
  BatchBuffers buffers;
  const Batch batch = Coalesce(ToyModel(), one, buffers, BatchSizes::UpTo(8));
  EXPECT_EQ(batch.inputs[kDense].shape, (Shape{4, 2}));
  EXPECT_EQ(Values<int64_t>(batch.inputs[kLengths]), (Ids{0, 0, 1, 0, /* size */ 0, 0, 0, 0}));
  EXPECT_EQ(batch.inputs[kHistory].data.data(), alone.inputs[kHistory].tensor.data.data());
}

TEST(Padding, BatchOfASizeIsLeftAlone) {
  const CheckedRequest alone = Checked(TwoCandidates());
  const CheckedRequest* const one[] = {&alone};
  BatchBuffers buffers;
  const Batch batch = Coalesce(ToyModel(), one, buffers, BatchSizes::UpTo(8));
  for (size_t i = 0; i < batch.inputs.size(); ++i) {
    EXPECT_EQ(batch.inputs[i].data.data(), alone.inputs[i].tensor.data.data());
  }
}

// A context a request, a price a candidate, and a stage that reads whose each candidate is.
constexpr std::string_view kBothAxes = R"({
 "format": "recpile", "format_version": 2,
 "requires": {"torch": "", "fbgemm": "", "arch": "", "cpu_features": []}, "model": {"name": "m", "version": "1"},
 "inputs": [
  {"name": "context", "kind": "dense", "tensors": [{"name": "context", "dtype": "fp32", "shape": ["request"]}]},
  {"name": "seen", "kind": "jagged", "tensors": [
   {"name": "seen.values", "dtype": "int64", "shape": ["seen.nnz"]},
   {"name": "seen.lengths", "dtype": "int64", "shape": ["request"]}]},
  {"name": "price", "kind": "dense", "tensors": [{"name": "price", "dtype": "fp32", "shape": ["candidate"]}]}],
 "outputs": [{"name": "score", "value": "dense/score", "dtype": "fp32", "shape": ["candidate"]}],
 "tables": [], "files": {},
 "stages": [{"name": "dense", "kind": "compiled", "precision": "bf16",
             "inputs": ["context", "seen.values", "seen.lengths", "price", "candidate_to_request"],
             "outputs": [{"name": "dense/score"}]}]
})";

TEST(Padding, EachAxisIsPaddedByItself) {
  const auto model = ParseManifest(kBothAxes);
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_TRUE(model.value().stages[0].onednn);
  const auto request = [&](float context, std::vector<float> prices) {
    const auto rows = static_cast<int64_t>(prices.size());
    auto checked =
        CheckRequest(model.value(), {{Of<float>("context", {1}, {context}), Of<int64_t>("seen.values", {1}, {7}),
                                      Of<int64_t>("seen.lengths", {1}, {1}), Of("price", {rows}, prices)}});
    EXPECT_TRUE(checked.ok()) << checked.status().message();
    return std::move(checked).value();
  };
  const CheckedRequest first = request(1, {10, 11}), second = request(2, {20}), third = request(3, {30, 31});
  const CheckedRequest* const all[] = {&first, &second, &third};
  BatchBuffers buffers;
  const Batch batch = Coalesce(model.value(), all, buffers, BatchSizes::UpTo(8));
  EXPECT_EQ(batch.requests, 4);
  EXPECT_EQ(batch.candidates, 8);
  EXPECT_EQ(Values<float>(batch.inputs[0]), (std::vector<float>{1, 2, 3, 3}));
  EXPECT_EQ(Values<int64_t>(batch.inputs[1]), (Ids{7, 7, 7}));
  EXPECT_EQ(Values<int64_t>(batch.inputs[2]), (Ids{1, 1, 1, 0}));
  EXPECT_EQ(Values<float>(batch.inputs[3]), (std::vector<float>{10, 11, 20, 30, 31, 31, 31, 31}));
  EXPECT_EQ(Values<int64_t>(batch.inputs[4]), (Ids{0, 0, 1, 2, 2, 2, 2, 2}));
}

}  // namespace
}  // namespace recpile
