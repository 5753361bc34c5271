// Both batch axes: what a request has one row of, and what it has a row of for every candidate.
#include <gtest/gtest.h>

#include "coalesce/coalescer.h"
#include "toy_request.h"

namespace recpile {
namespace {

using testing::Of;
using testing::Replaced;
using testing::Values;

using Floats = std::vector<float>;
using Ids = std::vector<int64_t>;

// A user with two keys of ids and a context, and candidates with a price and tags.
constexpr std::string_view kManifest = R"({
 "format": "recpile", "format_version": 2,
 "requires": {"torch": "2.13", "fbgemm": "1.8", "arch": "x86_64", "cpu_features": []},
 "model": {"name": "ranker", "version": "1"},
 "inputs": [
  {"name": "context", "kind": "dense", "tensors": [{"name": "context", "dtype": "fp32", "shape": ["request", 2]}]},
  {"name": "user", "kind": "keyed_jagged", "keys": ["id", "history"], "tensors": [
   {"name": "user.values", "dtype": "int64", "shape": ["user.nnz"]},
   {"name": "user.lengths", "dtype": "int64", "shape": [2, "request"]},
   {"name": "user.weights", "dtype": "fp32", "shape": ["user.nnz"]}]},
  {"name": "price", "kind": "dense", "tensors": [{"name": "price", "dtype": "fp32", "shape": ["candidate"]}]},
  {"name": "tags", "kind": "jagged", "tensors": [
   {"name": "tags.values", "dtype": "int64", "shape": ["tags.nnz"]},
   {"name": "tags.lengths", "dtype": "int64", "shape": ["candidate"]}]}],
 "outputs": [
  {"name": "score", "value": "dense/score", "dtype": "fp32", "shape": ["candidate"]},
  {"name": "vector", "value": "dense/vector", "dtype": "fp32", "shape": ["request", 2]}],
 "tables": [{"name": "t", "rows": 100, "dim": 2, "dtype": "fp32", "row_bytes": 8, "file": "data/recpile/tables/0"}],
 "stages": [
  {"name": "bags", "kind": "embedding", "inputs": ["user.values", "user.lengths", "user.weights"],
   "outputs": [{"name": "bags/pooled"}], "pooling": "sum",
   "sources": [{"values": "user.values", "lengths": "user.lengths", "weights": "user.weights"}],
   "features": [{"source": 0, "row": 0, "table": "t"}, {"source": 0, "row": 1, "table": "t"}]},
  {"name": "dense", "kind": "compiled", "inputs": ["context", "bags/pooled", "candidate_to_request", "price"],
   "outputs": [{"name": "dense/score"}, {"name": "dense/vector"}]}],
 "files": {"data/recpile/tables/0": {"bytes": 800, "xxh3": ""}}
})";

enum { kContext, kUserIds, kUserLengths, kUserWeights, kPrice, kTags, kTagLengths, kMap };

Manifest Ranker() {
  auto manifest = ParseManifest(kManifest);
  if (!manifest.ok()) {
    ADD_FAILURE() << manifest.status().message();
    return {};
  }
  return std::move(manifest).value();
}

std::string Refusal(std::string_view from, std::string_view to) {
  const auto parsed = ParseManifest(Replaced(kManifest, from, to));
  return parsed.ok() ? "" : parsed.status().message().substr(std::string("the manifest is malformed: ").size());
}

// The user has `ids` and `history`; there is a candidate for each price, with one tag each.
InferRequest Request(Floats context, Ids ids, Ids history, Floats prices, Ids tags) {
  const auto own = static_cast<int64_t>(ids.size()), seen = static_cast<int64_t>(history.size());
  const auto rows = static_cast<int64_t>(prices.size());
  ids.insert(ids.end(), history.begin(), history.end());
  return {{Of("context", {1, 2}, context), Of("user.values", {own + seen}, ids),
           Of<int64_t>("user.lengths", {2, 1}, {own, seen}),
           Of<float>("user.weights", {own + seen}, Floats(static_cast<size_t>(own + seen), 0.5f)),
           Of("price", {rows}, prices), Of("tags.values", {rows}, tags),
           Of<int64_t>("tags.lengths", {rows}, Ids(static_cast<size_t>(rows), 1))}};
}

InferRequest First() { return Request({1, 2}, {10}, {11, 12}, {5, 6}, {50, 60}); }
InferRequest Second() { return Request({3, 4}, {20}, {}, {7}, {70}); }

std::string RequestRefusal(size_t input, Tensor tensor) {
  InferRequest request = First();
  request.inputs[input] = std::move(tensor);
  const auto checked = CheckRequest(Ranker(), std::move(request));
  return checked.ok() ? "" : checked.status().message();
}

TEST(RequestAxis, InputsAndOutputsKnowTheirAxis) {
  const Manifest model = Ranker();
  EXPECT_EQ(model.inputs[kContext].axis, Axis::kRequest);
  for (const int input : {kUserIds, kUserLengths, kUserWeights}) EXPECT_EQ(model.inputs[input].axis, Axis::kRequest);
  for (const int input : {kPrice, kTags, kTagLengths}) EXPECT_EQ(model.inputs[input].axis, Axis::kCandidate);
  EXPECT_EQ(model.outputs[0].axis, Axis::kCandidate);
  EXPECT_EQ(model.outputs[1].axis, Axis::kRequest);
}

TEST(RequestAxis, ShapesHaveOneWhereCandidatesVary) {
  const Manifest model = Ranker();
  EXPECT_EQ(model.inputs[kContext].spec.shape, (Shape{1, 2}));
  EXPECT_EQ(model.inputs[kUserLengths].spec.shape, (Shape{2, 1}));
  EXPECT_EQ(model.inputs[kUserIds].spec.shape, Shape{-1});
  EXPECT_EQ(model.inputs[kPrice].spec.shape, Shape{-1});
  EXPECT_EQ(model.outputs[1].spec.shape, (Shape{1, 2}));
}

TEST(RequestAxis, MapIsAValueOfItsOwn) {
  const Manifest model = Ranker();
  EXPECT_EQ(model.candidate_to_request, 8);  // behind the seven inputs and what the first stage gives
  EXPECT_EQ(model.stages[1].inputs, (std::vector<ValueId>{0, 7, 8, 4}));
  EXPECT_EQ(model.stages[1].outputs, (std::vector<ValueId>{9, 10}));
  EXPECT_EQ(model.values, 11);
  EXPECT_EQ(testing::ToyModel().candidate_to_request, -1);
}

TEST(RequestAxis, NameOfTheMapIsReserved) {
  const std::string taken = "value 'candidate_to_request' is given by the runtime; use another name";
  EXPECT_EQ(Refusal(R"({"name": "price", "dtype")", R"({"name": "candidate_to_request", "dtype")"), taken);
  EXPECT_EQ(Refusal(R"("outputs": [{"name": "bags/pooled"}])", R"("outputs": [{"name": "candidate_to_request"}])"),
            taken);
}

TEST(RequestAxis, OnlyCompiledStagesReadTheMap) {
  EXPECT_EQ(Refusal(R"("inputs": ["user.values",)", R"("inputs": ["candidate_to_request",)"),
            "stage 'bags' reads 'candidate_to_request', which is for compiled stages only");
  EXPECT_EQ(Refusal(R"([{"values": "user.values",)", R"([{"values": "candidate_to_request",)"),
            "stage 'bags' reads 'candidate_to_request', which is for compiled stages only");
  EXPECT_EQ(Refusal(R"("value": "dense/score")", R"("value": "candidate_to_request")"),
            "output 'score' reads 'candidate_to_request', which is for compiled stages only");
}

TEST(RequestAxis, ModelWithoutCandidatesIsRefused) {
  std::string text = Replaced(kManifest, R"("name": "price", "dtype": "fp32", "shape": ["candidate"])",
                              R"("name": "price", "dtype": "fp32", "shape": ["request"])");
  text = Replaced(text, R"("tags.lengths", "dtype": "int64", "shape": ["candidate"])",
                  R"("tags.lengths", "dtype": "int64", "shape": ["request"])");
  EXPECT_EQ(ParseManifest(text).status().message(), "the manifest is malformed: no input has candidates");
}

TEST(RequestAxis, MapOrOutputsOfRequestsNeedInputsOfRequests) {
  std::string text = Replaced(kManifest, R"(["request", 2]}]})", R"(["candidate", 2]}]})");
  text = Replaced(text, R"([2, "request"])", R"([2, "candidate"])");
  EXPECT_EQ(ParseManifest(text).status().message(),
            "the manifest is malformed: output 'vector' has a row for each request, but no input has");
  text = Replaced(text, R"("shape": ["request", 2])", R"("shape": ["candidate", 2])");
  EXPECT_EQ(ParseManifest(text).status().message(),
            "the manifest is malformed: a stage reads 'candidate_to_request', but no input has requests");
}

TEST(RequestAxis, AxesStandWhereTheyCanBeJoined) {
  EXPECT_EQ(Refusal(R"(["request", 2]}]})", R"([2, "request"]}]})"),
            "input 'context' must have candidates or requests on its first axis");
  EXPECT_EQ(Refusal(R"(["request", 2]}]})", R"(["candidate", "request"]}]})"),
            "input 'context' must have rows of a fixed size");
  EXPECT_EQ(Refusal(R"([2, "request"])", R"(["request", 2])"), "input 'user.lengths' has a wrong shape");
  EXPECT_EQ(Refusal(R"([2, "request"])", R"([2, "user.nnz"])"), "input 'user.lengths' has a wrong shape");
  EXPECT_EQ(Refusal(R"([2, "request"])", R"([2, 1])"), "input 'user.lengths' has a wrong shape");
}

TEST(RequestAxis, RequestBringsOneRowOfItsOwnAndAnyNumberOfCandidates) {
  const auto checked = CheckRequest(Ranker(), First());
  ASSERT_TRUE(checked.ok()) << checked.status().message();
  EXPECT_EQ(checked.value().rows, 2);
  EXPECT_EQ(checked.value().inputs[kUserIds].segments, (std::vector<Segment>{{0, 8}, {8, 24}}));
  EXPECT_EQ(checked.value().inputs[kUserLengths].segments, (std::vector<Segment>{{0, 8}, {8, 16}}));
  EXPECT_EQ(checked.value().inputs[kTagLengths].segments, (std::vector<Segment>{{0, 16}}));
}

TEST(RequestAxis, SecondRowForTheRequestIsRefused) {
  EXPECT_EQ(RequestRefusal(kContext, Of<float>("context", {2, 2}, {1, 2, 3, 4})),
            "input 'context' has shape [2, 2]; expected [1, 2]: it has one row for the whole request");
  EXPECT_EQ(RequestRefusal(kContext, Of<float>("context", {0, 2}, {})),
            "input 'context' has shape [0, 2]; expected [1, 2]: it has one row for the whole request");
  EXPECT_EQ(RequestRefusal(kUserLengths, Of<int64_t>("user.lengths", {2, 2}, {1, 0, 1, 1})),
            "input 'user.lengths' has shape [2, 2]; expected [2, 1]: it has one row for the whole request");
}

TEST(RequestAxis, LengthsOfTheRequestAreChecked) {
  EXPECT_EQ(RequestRefusal(kUserLengths, Of<int64_t>("user.lengths", {2, 1}, {1, 1})),
            "input 'user.lengths' sums to 2, but 'user.values' has 3 ids");
  EXPECT_EQ(RequestRefusal(kUserIds, Of<int64_t>("user.values", {3}, {1, 2, 100})),
            "input 'user.values' has id 100 at index 2 (key 'history'); table 't' has ids 0 to 99");
}

TEST(RequestAxis, CandidatesAloneAreCounted) {
  EXPECT_EQ(RequestRefusal(kPrice, Of<float>("price", {3}, {5, 6, 7})),
            "input 'tags.lengths' has 2 candidates; input 'price' has 3");
}

class TwoRequests : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const InferRequest& request : {First(), Second()}) {
      auto checked = CheckRequest(model_, request);
      ASSERT_TRUE(checked.ok()) << checked.status().message();
      checked_.push_back(std::move(checked).value());
    }
  }

  Batch Joined() {
    const CheckedRequest* const both[] = {&checked_[0], &checked_[1]};
    return Coalesce(model_, both, buffers_);
  }

  const Manifest model_ = Ranker();
  std::vector<CheckedRequest> checked_;
  BatchBuffers buffers_;
};

TEST_F(TwoRequests, EachAxisGrowsByItself) {
  const Batch batch = Joined();
  EXPECT_EQ(batch.requests, 2);
  EXPECT_EQ(batch.candidates, 3);
  EXPECT_EQ(batch.inputs[kContext].shape, (Shape{2, 2}));
  EXPECT_EQ(Values<float>(batch.inputs[kContext]), (Floats{1, 2, 3, 4}));
  EXPECT_EQ(Values<float>(batch.inputs[kPrice]), (Floats{5, 6, 7}));
  EXPECT_EQ(Values<int64_t>(batch.inputs[kTags]), (Ids{50, 60, 70}));
  EXPECT_EQ(Values<int64_t>(batch.inputs[kTagLengths]), (Ids{1, 1, 1}));
}

TEST_F(TwoRequests, LengthsOfRequestsInterleaveKeyByKey) {
  const Batch batch = Joined();
  EXPECT_EQ(batch.inputs[kUserLengths].shape, (Shape{2, 2}));
  EXPECT_EQ(Values<int64_t>(batch.inputs[kUserLengths]), (Ids{1, 1, /* history */ 2, 0}));
  EXPECT_EQ(Values<int64_t>(batch.inputs[kUserIds]), (Ids{10, 20, /* history */ 11, 12}));
  EXPECT_EQ(batch.inputs[kUserWeights].shape, Shape{4});
}

TEST_F(TwoRequests, MapSaysWhoseEachCandidateIs) {
  const Batch batch = Joined();
  ASSERT_EQ(batch.inputs.size(), 8u);
  EXPECT_EQ(batch.inputs[kMap].name, "candidate_to_request");
  EXPECT_EQ(batch.inputs[kMap].dtype, DType::kInt64);
  EXPECT_EQ(batch.inputs[kMap].shape, Shape{3});
  EXPECT_EQ(Values<int64_t>(batch.inputs[kMap]), (Ids{0, 0, 1}));
}

TEST_F(TwoRequests, OneAloneHasAMapToo) {
  const CheckedRequest* const alone[] = {&checked_[0]};
  const Batch batch = Coalesce(model_, alone, buffers_);
  EXPECT_EQ(batch.inputs[kContext].data.data(), checked_[0].inputs[kContext].tensor.data.data());
  EXPECT_EQ(Values<int64_t>(batch.inputs[kMap]), (Ids{0, 0}));
}

TEST_F(TwoRequests, OutputsAreSplitByTheirAxis) {
  const std::vector<Tensor> outputs = {Of<float>("score", {3}, {0.1f, 0.2f, 0.3f}),
                                       Of<float>("vector", {2, 2}, {1, 2, 3, 4})};
  const auto first = Split(model_, outputs, {.request = 0, .first = 0, .count = 2});
  EXPECT_EQ(Values<float>(first[0]), (Floats{0.1f, 0.2f}));
  EXPECT_EQ(Values<float>(first[1]), (Floats{1, 2}));
  EXPECT_EQ(first[1].shape, (Shape{1, 2}));
  const auto second = Split(model_, outputs, {.request = 1, .first = 2, .count = 1});
  EXPECT_EQ(Values<float>(second[0]), (Floats{0.3f}));
  EXPECT_EQ(Values<float>(second[1]), (Floats{3, 4}));
}

TEST(RequestAxis, ModelWithoutItHasNoMap) {
  const Manifest toy = testing::ToyModel();
  const auto request = CheckRequest(toy, testing::TwoCandidates());
  ASSERT_TRUE(request.ok());
  const CheckedRequest* const one[] = {&request.value()};
  BatchBuffers buffers;
  EXPECT_EQ(Coalesce(toy, one, buffers).inputs.size(), toy.inputs.size());
}

}  // namespace
}  // namespace recpile
