// Requests that are too large for one batch: cut, and put together again.
#include "coalesce/cut.h"

#include <gtest/gtest.h>

#include <random>

#include "coalesce/coalescer.h"
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

enum { kDense, kIds, kLengths, kWeights, kHistory, kHistoryLengths };

// Candidate i has dense (i, i); i % 3 colors and (i + 1) % 2 sizes; history {i}.
std::vector<Candidate> Candidates(int count) {
  std::vector<Candidate> all(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) {
    Candidate& one = all[static_cast<size_t>(i)];
    one.dense[0] = one.dense[1] = static_cast<float>(i);
    for (int c = 0; c < i % 3; ++c) one.color.push_back({i % 10, 0.5f});
    if (i % 2 == 0) one.size.push_back({i % 20, 2.0f});
    one.history = {i};
  }
  return all;
}

CheckedRequest Checked(std::span<const Candidate> candidates) {
  auto checked = CheckRequest(ToyModel(), ToyRequest(candidates));
  if (!checked.ok()) ADD_FAILURE() << checked.status().message();
  return std::move(checked).value();
}

std::vector<Tensor> Joined(std::span<const CheckedRequest> pieces, BatchBuffers& buffers) {
  std::vector<const CheckedRequest*> pointers;
  for (const CheckedRequest& piece : pieces) pointers.push_back(&piece);
  return Coalesce(ToyModel(), pointers, buffers).inputs;
}

TEST(Cut, PiecesAreAsEqualAsCanBe) {
  const auto rows = [](int candidates, int64_t most) {
    std::vector<int64_t> all;
    for (const CheckedRequest& piece : Cut(ToyModel(), Checked(Candidates(candidates)), most))
      all.push_back(piece.rows);
    return all;
  };
  EXPECT_EQ(rows(9, 8), (Ids{5, 4}));
  EXPECT_EQ(rows(16, 8), (Ids{8, 8}));
  EXPECT_EQ(rows(20, 8), (Ids{7, 7, 6}));
  EXPECT_EQ(rows(3, 1), (Ids{1, 1, 1}));
}

TEST(Cut, PieceHasItsOwnCandidatesOfEveryKey) {
  BatchBuffers buffers;
  const CheckedRequest whole = Checked(Candidates(4));
  const auto pieces = Cut(ToyModel(), whole, 2);
  const auto second = Joined(std::span(pieces).subspan(1, 1), buffers);
  EXPECT_EQ(Values<float>(second[kDense]), (Floats{2, 2, 3, 3}));
  EXPECT_EQ(second[kDense].shape, (Shape{2, 2}));
  EXPECT_EQ(Values<int64_t>(second[kLengths]), (Ids{2, 0, /* size */ 1, 0}));
  EXPECT_EQ(second[kLengths].shape, (Shape{2, 2}));
  EXPECT_EQ(Values<int64_t>(second[kIds]), (Ids{2, 2, /* size */ 2}));
  EXPECT_EQ(second[kIds].shape, Shape{3});
  EXPECT_EQ(Values<float>(second[kWeights]), (Floats{0.5f, 0.5f, 2}));
  EXPECT_EQ(Values<int32_t>(second[kHistory]), (std::vector<int32_t>{2, 3}));
}

TEST(Cut, LeadingCandidatesCanBeCutAgain) {
  BatchBuffers buffers;
  const std::vector<Candidate> all = Candidates(7);
  const CheckedRequest leading = Leading(ToyModel(), Leading(ToyModel(), Checked(all), 6), 5);
  ASSERT_EQ(leading.rows, 5);
  const auto pieces = Cut(ToyModel(), leading, 2);
  ASSERT_EQ(pieces.size(), 3u);
  const auto joined = Joined(pieces, buffers);
  const InferRequest wanted = ToyRequest(std::span(all).first(5));
  for (size_t i = 0; i < joined.size(); ++i) {
    EXPECT_EQ(joined[i].shape, wanted.inputs[i].shape) << joined[i].name;
    EXPECT_TRUE(std::ranges::equal(joined[i].data, wanted.inputs[i].data)) << joined[i].name;
  }
}

TEST(Cut, WhatLiesTogetherIsNotCopied) {
  BatchBuffers buffers;
  const CheckedRequest whole = Checked(Candidates(4));
  const auto pieces = Cut(ToyModel(), whole, 2);
  const auto second = Joined(std::span(pieces).subspan(1, 1), buffers);
  EXPECT_EQ(second[kDense].data.data(), whole.inputs[kDense].tensor.data.data() + 16);
  EXPECT_EQ(second[kHistory].data.data(), whole.inputs[kHistory].tensor.data.data() + 8);
}

TEST(Cut, PiecesCoalesceAsIfTheyHadComeByThemselves) {
  std::mt19937 random(7);
  BatchBuffers buffers;
  for (int round = 0; round < 100; ++round) {
    const std::vector<Candidate> all = Candidates(1 + static_cast<int>(random() % 12));
    const auto pieces = Cut(ToyModel(), Checked(all), 1 + static_cast<int64_t>(random() % 5));
    size_t first = 0;
    for (const CheckedRequest& piece : pieces) {
      const InferRequest wanted = ToyRequest(std::span(all).subspan(first, static_cast<size_t>(piece.rows)));
      const auto alone = Joined(std::span(&piece, 1), buffers);
      for (size_t i = 0; i < alone.size(); ++i) {
        ASSERT_EQ(alone[i].shape, wanted.inputs[i].shape) << alone[i].name << ", round " << round;
        ASSERT_TRUE(std::ranges::equal(alone[i].data, wanted.inputs[i].data)) << alone[i].name << ", round " << round;
      }
      first += static_cast<size_t>(piece.rows);
    }
    ASSERT_EQ(first, all.size());
    const auto together = Joined(pieces, buffers);
    const InferRequest wanted = ToyRequest(all);
    for (size_t i = 0; i < together.size(); ++i) {
      ASSERT_EQ(together[i].shape, wanted.inputs[i].shape);
      ASSERT_TRUE(std::ranges::equal(together[i].data, wanted.inputs[i].data)) << together[i].name;
    }
  }
}

// Outputs: one of candidates, and one of requests.
Manifest TwoOutputs() {
  Manifest model;
  model.outputs.resize(2);
  model.outputs[1].axis = Axis::kRequest;
  return model;
}

InferResult Scores(Floats scores, float user) {
  const auto rows = static_cast<int64_t>(scores.size());
  return std::vector<Tensor>{Of("score", {rows}, std::move(scores)), Of<float>("user", {1, 1}, {user})};
}

TEST(Assembly, LastPieceBringsTheWholeAnswerInOrder) {
  const Manifest model = TwoOutputs();
  Assembly whole(model, 3);
  EXPECT_FALSE(whole.Add(2, Scores({5}, 7)).has_value());
  EXPECT_FALSE(whole.Add(0, Scores({1, 2}, 7)).has_value());
  const auto answer = whole.Add(1, Scores({3, 4}, 7));
  ASSERT_TRUE(answer.has_value() && answer->ok());
  EXPECT_EQ(Values<float>(answer->value()[0]), (Floats{1, 2, 3, 4, 5}));
  EXPECT_EQ(answer->value()[0].shape, Shape{5});
  EXPECT_EQ(Values<float>(answer->value()[1]), Floats{7});  // once, not three times
  EXPECT_EQ(answer->value()[1].shape, (Shape{1, 1}));
}

TEST(Assembly, OneFailureIsTheAnswer) {
  const Manifest model = TwoOutputs();
  Assembly whole(model, 3);
  EXPECT_FALSE(whole.Add(0, Scores({1}, 7)).has_value());
  EXPECT_FALSE(whole.Add(1, Status::Internal("the second failed")).has_value());
  const auto answer = whole.Add(2, Status::Internal("the third failed"));
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->status().message(), "the second failed");
}

TEST(Assembly, WhereTheLastPiecesMayLackTheFirstOnesAreTheAnswer) {
  const Manifest model = TwoOutputs();
  Assembly whole(model, 4, {2, 1, 3, 1});
  EXPECT_FALSE(whole.Add(3, Scores({9}, 7)).has_value());
  EXPECT_FALSE(whole.Add(1, Scores({3}, 7)).has_value());
  EXPECT_FALSE(whole.Add(2, Status::Unavailable("no time")).has_value());
  const auto answer = whole.Add(0, Scores({1, 2}, 7));
  ASSERT_TRUE(answer.has_value() && answer->ok());
  EXPECT_EQ(Values<float>(answer->value()[0]), (Floats{1, 2, 3}));
  EXPECT_EQ(answer->left_out, 4);
}

TEST(Assembly, WithoutTheFirstPieceOrWithAWorseFailureThereIsNoAnswer) {
  const Manifest model = TwoOutputs();
  for (const auto& [piece, failure] : {std::pair(0, Status::Unavailable("no time")), {1, Status::Internal("broken")}}) {
    Assembly whole(model, 2, {1, 1});
    EXPECT_FALSE(whole.Add(piece == 0 ? 1 : 0, Scores({1}, 7)).has_value());
    const auto answer = whole.Add(static_cast<size_t>(piece), failure);
    EXPECT_EQ(answer->status().message(), failure.message());
  }
}

TEST(Assembly, PiecesOfDifferentShapesAreAnErrorNotAReadPastTheEnd) {
  const Manifest model = TwoOutputs();
  Assembly whole(model, 2);
  EXPECT_FALSE(whole.Add(0, std::vector<Tensor>{Of<float>("score", {1, 2}, {1, 2}), Of<float>("user", {1}, {0})}));
  const auto answer = whole.Add(1, std::vector<Tensor>{Of<float>("score", {1, 1}, {1}), Of<float>("user", {1}, {0})});
  EXPECT_EQ(answer->status().code(), StatusCode::kInternal);
}

}  // namespace
}  // namespace recpile
