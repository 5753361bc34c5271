// CheckRequest: names, types, shapes and candidates, and where segments end. segments_jagged_test.cc: lengths and ids.
#include "coalesce/segments.h"

#include <gtest/gtest.h>

#include <limits>

#include "toy_request.h"

namespace recpile {
namespace {

using testing::Candidate;
using testing::Of;
using testing::ToyModel;
using testing::ToyRequest;
using testing::TwoCandidates;
using testing::Values;
using testing::With;

constexpr int64_t kHuge = std::numeric_limits<int64_t>::max();
const char kInputs[] =
    "; the model's inputs are dense, sparse.values, sparse.lengths, sparse.weights, history.values, history.lengths";

std::string Refusal(InferRequest request) {
  const auto checked = CheckRequest(ToyModel(), std::move(request));
  if (checked.ok()) return "";
  EXPECT_EQ(checked.status().code(), StatusCode::kInvalidArgument);
  return checked.status().message();
}

CheckedRequest Accepted(InferRequest request) {
  auto checked = CheckRequest(ToyModel(), std::move(request));
  if (!checked.ok()) {
    ADD_FAILURE() << checked.status().message();
    return {};
  }
  return std::move(checked).value();
}

std::vector<std::vector<size_t>> Ends(const CheckedRequest& checked) {
  std::vector<std::vector<size_t>> ends;
  for (const SegmentedInput& input : checked.inputs) {
    size_t begin = 0;
    ends.emplace_back();
    for (const Segment& segment : input.segments) {
      EXPECT_EQ(segment.begin, begin);  // they lie one behind the other
      ends.back().push_back(begin = segment.end);
    }
  }
  return ends;
}

using EndsOfAll = std::vector<std::vector<size_t>>;

TEST(CheckRequest, CountsTheCandidates) {
  EXPECT_EQ(Accepted(TwoCandidates()).rows, 2);
  EXPECT_EQ(Accepted(ToyRequest(std::vector<Candidate>(5))).rows, 5);
}

TEST(CheckRequest, CutsEveryInputKeyByKey) {
  // Bytes. Dense is one segment; color has 3 ids and size 1; lengths are two rows of two; history is one key.
  EXPECT_EQ(Ends(Accepted(TwoCandidates())), (EndsOfAll{{16}, {24, 32}, {16, 32}, {12, 16}, {12}, {8}}));
}

TEST(CheckRequest, OrderOfInputsIsTheClients) {
  InferRequest request = TwoCandidates();
  std::reverse(request.inputs.begin(), request.inputs.end());
  const CheckedRequest checked = Accepted(std::move(request));
  EXPECT_EQ(checked.inputs[0].tensor.name, "dense");
  EXPECT_EQ(Values<float>(checked.inputs[0].tensor), (std::vector<float>{1, 2, 3, 4}));
  EXPECT_EQ(checked.inputs[5].tensor.name, "history.lengths");
  EXPECT_EQ(Ends(checked), (EndsOfAll{{16}, {24, 32}, {16, 32}, {12, 16}, {12}, {8}}));
}

TEST(CheckRequest, BytesAreNotCopied) {
  const InferRequest request = TwoCandidates();
  const CheckedRequest checked = Accepted(request);
  for (size_t i = 0; i < request.inputs.size(); ++i) {
    EXPECT_EQ(checked.inputs[i].tensor.data.data(), request.inputs[i].data.data());
  }
}

TEST(CheckRequest, EmptyBagsAreAccepted) {
  Candidate one;
  one.size = {{0, 1}};
  const Candidate both[] = {Candidate{}, one};
  EXPECT_EQ(Ends(Accepted(ToyRequest(both))), (EndsOfAll{{16}, {0, 8}, {16, 32}, {0, 4}, {0}, {8}}));
}

TEST(CheckRequest, RequestWithoutAnyIdIsAccepted) {
  EXPECT_EQ(Ends(Accepted(ToyRequest(std::vector<Candidate>(3)))),
            (EndsOfAll{{24}, {0, 0}, {24, 48}, {0, 0}, {0}, {12}}));
}

TEST(CheckRequest, MissingInputIsNamed) {
  InferRequest request = TwoCandidates();
  request.inputs.erase(request.inputs.begin() + 3);
  EXPECT_EQ(Refusal(request), "input 'sparse.weights' is missing" + std::string(kInputs));
  EXPECT_EQ(Refusal({}), "input 'dense' is missing" + std::string(kInputs));
}

TEST(CheckRequest, UnknownInputIsNamed) {
  InferRequest request = TwoCandidates();
  request.inputs.push_back(Of<float>("sparse", {0}, {}));
  EXPECT_EQ(Refusal(request), "unknown input 'sparse'" + std::string(kInputs));
}

TEST(CheckRequest, RepeatedInputIsNamed) {
  InferRequest request = TwoCandidates();
  request.inputs.push_back(request.inputs[2]);
  EXPECT_EQ(Refusal(request), "input 'sparse.lengths' appears twice");
}

TEST(CheckRequest, OtherDtypeIsRefused) {
  EXPECT_EQ(Refusal(With(TwoCandidates(), Of<int32_t>("dense", {2, 2}, {1, 2, 3, 4}))),
            "input 'dense' is int32; expected fp32");
  EXPECT_EQ(Refusal(With(TwoCandidates(), Of<int32_t>("sparse.values", {4}, {1, 2, 3, 15}))),
            "input 'sparse.values' is int32; expected int64");
  EXPECT_EQ(Refusal(With(TwoCandidates(), Of<int64_t>("history.lengths", {2}, {1, 2}))),
            "input 'history.lengths' is int64; expected int32");
}

TEST(CheckRequest, OtherRankIsRefused) {
  EXPECT_EQ(Refusal(With(TwoCandidates(), Of<float>("dense", {4}, {1, 2, 3, 4}))),
            "input 'dense' has shape [4]; expected [-1, 2]");
  EXPECT_EQ(Refusal(With(TwoCandidates(), Of<float>("dense", {2, 2, 1}, {1, 2, 3, 4}))),
            "input 'dense' has shape [2, 2, 1]; expected [-1, 2]");
  EXPECT_EQ(Refusal(With(TwoCandidates(), Of<int64_t>("sparse.lengths", {4}, {2, 1, 0, 1}))),
            "input 'sparse.lengths' has shape [4]; expected [2, -1]");
  EXPECT_EQ(Refusal(With(TwoCandidates(), Of<float>("dense", {}, {1}))),
            "input 'dense' has shape []; expected [-1, 2]");
}

TEST(CheckRequest, OtherSizeIsRefused) {
  EXPECT_EQ(Refusal(With(TwoCandidates(), Of<float>("dense", {2, 3}, {1, 2, 3, 4, 5, 6}))),
            "input 'dense' has shape [2, 3]; expected [-1, 2]");
  EXPECT_EQ(Refusal(With(TwoCandidates(), Of<int64_t>("sparse.lengths", {1, 4}, {2, 1, 0, 1}))),
            "input 'sparse.lengths' has shape [1, 4]; expected [2, -1]");
  EXPECT_EQ(Refusal(With(TwoCandidates(), Of<float>("dense", {-2, 2}, {1, 2, 3, 4}))),
            "input 'dense' has shape [-2, 2]; expected [-1, 2]");
}

TEST(CheckRequest, BytesThatDoNotFitTheShapeAreRefused) {
  EXPECT_EQ(Refusal(With(TwoCandidates(), Of<float>("dense", {2, 2}, {1, 2, 3}))),
            "input 'dense' has 12 bytes; its shape [2, 2] needs 16");
  EXPECT_EQ(Refusal(With(TwoCandidates(), Of<int64_t>("sparse.values", {3}, {1, 2, 3, 15}))),
            "input 'sparse.values' has 32 bytes; its shape [3] needs 24");
}

TEST(CheckRequest, ShapeWhoseBytesOverflowIsRefused) {
  EXPECT_EQ(Refusal(With(TwoCandidates(), Of<float>("dense", {kHuge, 2}, {}))),
            "input 'dense' has shape [9223372036854775807, 2]; expected [-1, 2]");
  // 2^62 x 2 x 4 bytes are 2^65, which is 0 in 64 bits.
  EXPECT_EQ(Refusal(With(TwoCandidates(), Of<float>("dense", {int64_t{1} << 62, 2}, {}))),
            "input 'dense' has shape [4611686018427387904, 2]; expected [-1, 2]");
  EXPECT_EQ(Refusal(With(TwoCandidates(), Of<int64_t>("sparse.values", {int64_t{1} << 61}, {}))),
            "input 'sparse.values' has shape [2305843009213693952]; expected [-1]");
}

TEST(CheckRequest, CandidatesThatDisagreeAreRefused) {
  EXPECT_EQ(Refusal(With(TwoCandidates(), Of<float>("dense", {1, 2}, {1, 2}))),
            "input 'sparse.lengths' has 2 candidates; input 'dense' has 1");
  EXPECT_EQ(Refusal(With(TwoCandidates(), Of<int32_t>("history.lengths", {3}, {1, 1, 1}))),
            "input 'history.lengths' has 3 candidates; input 'dense' has 2");
}

TEST(CheckRequest, NoCandidatesAreRefused) {
  EXPECT_EQ(Refusal(ToyRequest({})), "the request is empty: input 'dense' has 0 candidates; send at least 1");
}

}  // namespace
}  // namespace recpile
