#include "coalesce/coalescer.h"

#include <gtest/gtest.h>

#include <random>

#include "toy_request.h"

namespace recpile {
namespace {

using testing::Candidate;
using testing::Of;
using testing::ToyModel;
using testing::ToyRequest;
using testing::Values;

using Floats = std::vector<float>;
using Ids = std::vector<int64_t>;
using Ids32 = std::vector<int32_t>;

// Places in the toy model's inputs.
enum { kDense, kIds, kLengths, kWeights, kHistory, kHistoryLengths };

CheckedRequest Checked(std::span<const Candidate> candidates) {
  auto checked = CheckRequest(ToyModel(), ToyRequest(candidates));
  if (!checked.ok()) ADD_FAILURE() << checked.status().message();
  return std::move(checked).value();
}

std::vector<Tensor> Joined(const std::vector<CheckedRequest>& requests, BatchBuffers& buffers) {
  std::vector<const CheckedRequest*> pointers;
  for (const CheckedRequest& request : requests) pointers.push_back(&request);
  return Coalesce(ToyModel(), pointers, buffers).inputs;
}

// One candidate: color {1, 2}, no size, history {50}.
const Candidate kFirst = {{1, 2}, {{1, 0.1f}, {2, 0.2f}}, {}, {50}};
// One candidate: color {3}, size {11, 12}, no history.
const Candidate kSecond = {{3, 4}, {{3, 0.3f}}, {{11, 1.1f}, {12, 1.2f}}, {}};
// No color, size {13}, history {60, 61}.
const Candidate kThird = {{5, 6}, {}, {{13, 1.3f}}, {60, 61}};

TEST(Coalesce, TwoRequestsInterleaveKeyByKey) {
  BatchBuffers buffers;
  const std::vector<CheckedRequest> requests = {Checked({{kFirst}}), Checked({{kSecond}})};
  const auto batch = Joined(requests, buffers);
  // Colors of both, then sizes of both. One request behind the other would be 1 2 | 3 11 12.
  EXPECT_EQ(Values<int64_t>(batch[kIds]), (Ids{1, 2, 3, 11, 12}));
  EXPECT_EQ(Values<int64_t>(batch[kLengths]), (Ids{2, 1, 0, 2}));
  EXPECT_EQ(batch[kIds].shape, Shape{5});
  EXPECT_EQ(batch[kLengths].shape, (Shape{2, 2}));
}

TEST(Coalesce, WeightsFollowTheirIds) {
  BatchBuffers buffers;
  const std::vector<CheckedRequest> requests = {Checked({{kFirst}}), Checked({{kSecond}})};
  const auto batch = Joined(requests, buffers);
  EXPECT_EQ(Values<float>(batch[kWeights]), (Floats{0.1f, 0.2f, 0.3f, 1.1f, 1.2f}));
  EXPECT_EQ(batch[kWeights].shape, Shape{5});
}

TEST(Coalesce, ThreeRequestsOfSeveralCandidatesInterleave) {
  BatchBuffers buffers;
  const std::vector<CheckedRequest> requests = {Checked({{kFirst, kThird}}), Checked({{kThird}}),
                                                Checked({{kSecond, kFirst}})};
  const auto batch = Joined(requests, buffers);
  EXPECT_EQ(Values<int64_t>(batch[kLengths]), (Ids{2, 0, 0, 1, 2, /* size */ 0, 1, 1, 2, 0}));
  EXPECT_EQ(Values<int64_t>(batch[kIds]), (Ids{1, 2, 3, 1, 2, /* size */ 13, 13, 11, 12}));
  EXPECT_EQ(batch[kLengths].shape, (Shape{2, 5}));
}

TEST(Coalesce, DenseRowsAndSingleFeaturesLieBehindEachOther) {
  BatchBuffers buffers;
  const std::vector<CheckedRequest> requests = {Checked({{kFirst, kThird}}), Checked({{kSecond}})};
  const auto batch = Joined(requests, buffers);
  EXPECT_EQ(Values<float>(batch[kDense]), (Floats{1, 2, 5, 6, 3, 4}));
  EXPECT_EQ(batch[kDense].shape, (Shape{3, 2}));
  EXPECT_EQ(Values<int32_t>(batch[kHistory]), (Ids32{50, 60, 61}));
  EXPECT_EQ(Values<int32_t>(batch[kHistoryLengths]), (Ids32{1, 2, 0}));
  EXPECT_EQ(batch[kHistoryLengths].shape, Shape{3});
}

TEST(Coalesce, RequestsWithoutAnyIdJoin) {
  BatchBuffers buffers;
  const std::vector<CheckedRequest> requests = {Checked(std::vector<Candidate>(2)), Checked(std::vector<Candidate>(1))};
  const auto batch = Joined(requests, buffers);
  EXPECT_EQ(batch[kIds].shape, Shape{0});
  EXPECT_TRUE(batch[kIds].data.empty());
  EXPECT_EQ(Values<int64_t>(batch[kLengths]), (Ids{0, 0, 0, 0, 0, 0}));
}

TEST(Coalesce, NamesAndTypesStay) {
  BatchBuffers buffers;
  const std::vector<CheckedRequest> requests = {Checked({{kFirst}}), Checked({{kSecond}})};
  const auto batch = Joined(requests, buffers);
  EXPECT_EQ(batch[kHistory].name, "history.values");
  EXPECT_EQ(batch[kHistory].dtype, DType::kInt32);
}

TEST(Coalesce, OneRequestIsPassedThroughWithoutACopy) {
  BatchBuffers buffers;
  const std::vector<CheckedRequest> alone = {Checked({{kFirst, kSecond}})};
  const auto batch = Joined(alone, buffers);
  ASSERT_EQ(batch.size(), 6u);
  for (size_t i = 0; i < batch.size(); ++i) {
    EXPECT_EQ(batch[i].data.data(), alone[0].inputs[i].tensor.data.data());
    EXPECT_EQ(batch[i].shape, alone[0].inputs[i].tensor.shape);
  }
}

TEST(Coalesce, ReusesItsBuffersFromBatchToBatch) {
  BatchBuffers buffers;
  const std::vector<CheckedRequest> large = {Checked(std::vector<Candidate>(20, kFirst)), Checked({{kSecond}})};
  const std::vector<CheckedRequest> small = {Checked({{kSecond}}), Checked({{kThird}})};
  const std::byte* const first = Joined(large, buffers)[kIds].data.data();
  const auto batch = Joined(small, buffers);
  EXPECT_EQ(batch[kIds].data.data(), first);
  EXPECT_EQ(Values<int64_t>(batch[kIds]), (Ids{3, 11, 12, 13}));  // and nothing is left of the larger one
}

TEST(BatchBuffers, SlotsAreAlignedAndDoNotMoveEachOther) {
  BatchBuffers buffers;
  std::byte* const first = buffers.Get(0, 100);
  for (size_t slot = 1; slot < 40; ++slot) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffers.Get(slot, slot * 37)) % 64, 0u);
  }
  EXPECT_EQ(buffers.Get(0, 100), first);
  std::fill_n(buffers.Get(0, 100000), 100000, std::byte{1});
  EXPECT_NE(buffers.Get(0, 0), nullptr);
}

// A model with `count` outputs, which have a row a candidate.
Manifest Outputs(size_t count) {
  Manifest model;
  model.outputs.resize(count);
  return model;
}

TEST(Split, GivesTheRowsAskedForAndSharesTheirMemory) {
  const std::vector<Tensor> outputs = {Of<float>("score", {4}, {0, 1, 2, 3}),
                                       Of<int64_t>("top", {4, 2}, {0, 1, 10, 11, 20, 21, 30, 31})};
  const auto middle = Split(Outputs(2), outputs, {.first = 1, .count = 2});
  EXPECT_EQ(Values<float>(middle[0]), (Floats{1, 2}));
  EXPECT_EQ(middle[0].shape, Shape{2});
  EXPECT_EQ(Values<int64_t>(middle[1]), (Ids{10, 11, 20, 21}));
  EXPECT_EQ(middle[1].shape, (Shape{2, 2}));
  EXPECT_EQ(middle[1].name, "top");
  EXPECT_EQ(middle[0].data.data(), outputs[0].data.data() + 4);
  EXPECT_EQ(middle[0].owner, outputs[0].owner);
  EXPECT_EQ(Values<float>(Split(Outputs(2), outputs, {.first = 0, .count = 4})[0]), (Floats{0, 1, 2, 3}));
  EXPECT_EQ(Values<int64_t>(Split(Outputs(2), outputs, {.first = 3, .count = 1})[1]), (Ids{30, 31}));
}

TEST(Split, RowsWithoutColumnsAreEmpty) {
  const auto last = Split(Outputs(1), {Of<float>("none", {3, 0}, {})}, {.first = 2, .count = 1});
  EXPECT_EQ(last[0].shape, (Shape{1, 0}));
  EXPECT_TRUE(last[0].data.empty());
}

Candidate RandomCandidate(std::mt19937& random) {
  const auto below = [&](uint32_t end) { return static_cast<int>(random() % end); };
  Candidate one = {{static_cast<float>(below(100)), static_cast<float>(below(100))}, {}, {}, {}};
  for (int i = below(4); i > 0; --i) one.color.push_back({below(10), static_cast<float>(below(9))});
  for (int i = below(3); i > 0; --i) one.size.push_back({below(20), static_cast<float>(below(9))});
  for (int i = below(5); i > 0; --i) one.history.push_back(below(100));
  return one;
}

TEST(Coalesce, BatchIsWhatOneClientWithAllCandidatesWouldSendAndSplittingIsItsInverse) {
  std::mt19937 random(11);
  BatchBuffers buffers;
  for (int round = 0; round < 500; ++round) {
    std::vector<Candidate> all;
    std::vector<CheckedRequest> requests(1 + random() % 6);
    for (CheckedRequest& request : requests) {
      std::vector<Candidate> own(1 + random() % 5);
      for (Candidate& candidate : own) candidate = RandomCandidate(random);
      request = Checked(own);
      all.insert(all.end(), own.begin(), own.end());
    }
    const auto batch = Joined(requests, buffers);
    const InferRequest wanted = ToyRequest(all);
    for (size_t i = 0; i < batch.size(); ++i) {
      ASSERT_EQ(batch[i].shape, wanted.inputs[i].shape) << batch[i].name << ", round " << round;
      ASSERT_TRUE(std::ranges::equal(batch[i].data, wanted.inputs[i].data)) << batch[i].name << ", round " << round;
    }
    int64_t first = 0;
    for (const CheckedRequest& request : requests) {
      const auto rows =
          Split(Outputs(2), {batch[kDense], batch[kHistoryLengths]}, {.first = first, .count = request.rows});
      ASSERT_TRUE(std::ranges::equal(rows[0].data, request.inputs[kDense].tensor.data));
      ASSERT_TRUE(std::ranges::equal(rows[1].data, request.inputs[kHistoryLengths].tensor.data));
      ASSERT_EQ(rows[0].shape, request.inputs[kDense].tensor.shape);
      first += request.rows;
    }
  }
}

}  // namespace
}  // namespace recpile
