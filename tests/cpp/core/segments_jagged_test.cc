// CheckRequest: what makes a lookup read out of bounds is refused, and the refusal says where it is.
#include <gtest/gtest.h>

#include <limits>
#include <map>

#include "coalesce/coalescer.h"
#include "coalesce/cut.h"
#include "toy_request.h"

namespace recpile {
namespace {

using testing::kToyManifest;
using testing::Of;
using testing::Replaced;
using testing::ToyModel;
using testing::TwoCandidates;
using testing::With;

constexpr int64_t kHuge = std::numeric_limits<int64_t>::max();
constexpr int64_t kLeast = std::numeric_limits<int64_t>::min();

std::string Refusal(InferRequest request, const Manifest& manifest = ToyModel()) {
  const auto checked = CheckRequest(manifest, std::move(request));
  return checked.ok() ? "" : checked.status().message();
}

std::string RefusalOfLengths(std::vector<int64_t> lengths) {
  return Refusal(With(TwoCandidates(), Of<int64_t>("sparse.lengths", {2, 2}, std::move(lengths))));
}

std::string RefusalOfIds(std::vector<int64_t> ids) {
  return Refusal(With(TwoCandidates(), Of<int64_t>("sparse.values", {4}, std::move(ids))));
}

std::string RefusalOfHistory(std::vector<int32_t> ids) {
  return Refusal(With(TwoCandidates(), Of<int32_t>("history.values", {3}, std::move(ids))));
}

TEST(CheckLengths, NegativeLengthIsRefused) {
  EXPECT_EQ(RefusalOfLengths({2, 1, -1, 2}), "input 'sparse.lengths' has -1 at index 2; lengths are 0 or more");
  EXPECT_EQ(RefusalOfLengths({kLeast, 1, 0, 1}),
            "input 'sparse.lengths' has -9223372036854775808 at index 0; lengths are 0 or more");
  EXPECT_EQ(Refusal(With(TwoCandidates(), Of<int32_t>("history.lengths", {2}, {4, -1}))),
            "input 'history.lengths' sums to more than the 3 ids that came with it");
  EXPECT_EQ(Refusal(With(TwoCandidates(), Of<int32_t>("history.lengths", {2}, {-1, 4}))),
            "input 'history.lengths' has -1 at index 0; lengths are 0 or more");
}

TEST(CheckLengths, SumAboveTheIdsIsRefused) {
  EXPECT_EQ(RefusalOfLengths({2, 1, 0, 2}), "input 'sparse.lengths' sums to more than the 4 ids that came with it");
  EXPECT_EQ(RefusalOfLengths({5, 0, 0, 0}), "input 'sparse.lengths' sums to more than the 4 ids that came with it");
}

TEST(CheckLengths, SumBelowTheIdsIsRefused) {
  EXPECT_EQ(RefusalOfLengths({2, 1, 0, 0}), "input 'sparse.lengths' sums to 3, but 'sparse.values' has 4 ids");
  EXPECT_EQ(RefusalOfLengths({0, 0, 0, 0}), "input 'sparse.lengths' sums to 0, but 'sparse.values' has 4 ids");
}

TEST(CheckLengths, SumThatWrapsAroundIsRefused) {
  const std::string wanted = "input 'sparse.lengths' sums to more than the 4 ids that came with it";
  EXPECT_EQ(RefusalOfLengths({kHuge, 0, 0, 0}), wanted);
  EXPECT_EQ(RefusalOfLengths({1, kHuge, 0, 0}), wanted);
  // 2^63 - 1 twice, and 6: that is 4 in 64 bits.
  EXPECT_EQ(RefusalOfLengths({kHuge, kHuge, 6, 0}), wanted);
  const int32_t most = std::numeric_limits<int32_t>::max();
  EXPECT_EQ(Refusal(With(TwoCandidates(), Of<int32_t>("history.lengths", {2}, {most, most}))),
            "input 'history.lengths' sums to more than the 3 ids that came with it");
}

TEST(CheckLengths, IdsMayMoveBetweenBags) {
  EXPECT_EQ(RefusalOfLengths({0, 3, 1, 0}), "");
  EXPECT_EQ(RefusalOfLengths({3, 0, 0, 1}), "");
}

TEST(CheckWeights, AsManyAsIds) {
  EXPECT_EQ(Refusal(With(TwoCandidates(), Of<float>("sparse.weights", {3}, {1, 1, 1}))),
            "input 'sparse.weights' has 3 weights, but 'sparse.values' has 4 ids");
  EXPECT_EQ(Refusal(With(TwoCandidates(), Of<float>("sparse.weights", {5}, {1, 1, 1, 1, 1}))),
            "input 'sparse.weights' has 5 weights, but 'sparse.values' has 4 ids");
}

TEST(CheckIds, FirstAndLastRowAreIds) {
  EXPECT_EQ(RefusalOfIds({0, 9, 0, 19}), "");
  EXPECT_EQ(RefusalOfHistory({0, 99, 0}), "");
}

TEST(CheckIds, IdBehindTheLastRowIsRefusedWithItsKey) {
  EXPECT_EQ(RefusalOfIds({1, 10, 3, 15}),
            "input 'sparse.values' has id 10 at index 1 (key 'color'); table 'colors' has ids 0 to 9");
  EXPECT_EQ(RefusalOfIds({1, 2, 3, 20}),
            "input 'sparse.values' has id 20 at index 3 (key 'size'); table 'sizes' has ids 0 to 19");
}

TEST(CheckIds, NegativeIdIsRefused) {
  EXPECT_EQ(RefusalOfIds({-1, 2, 3, 15}),
            "input 'sparse.values' has id -1 at index 0 (key 'color'); table 'colors' has ids 0 to 9");
  EXPECT_NE(RefusalOfIds({1, 2, 3, kLeast}).find("id -9223372036854775808 at index 3 (key 'size')"), std::string::npos);
}

TEST(CheckIds, HugeIdIsRefused) { EXPECT_NE(RefusalOfIds({1, 2, kHuge, 15}).find("at index 2"), std::string::npos); }

TEST(CheckIds, FirstOfSeveralIsReported) {
  EXPECT_NE(RefusalOfIds({1, 11, 12, 99}).find("id 11 at index 1"), std::string::npos);
}

TEST(CheckIds, SameIdMayBeFineForOneKeyAndNotForAnother) {
  // 15 is a size, and no color: who owns it is for lengths to say.
  EXPECT_EQ(RefusalOfLengths({2, 1, 0, 1}), "");
  EXPECT_EQ(RefusalOfLengths({2, 2, 0, 0}),
            "input 'sparse.values' has id 15 at index 3 (key 'color'); table 'colors' has ids 0 to 9");
}

TEST(CheckIds, Int32IdsAreCheckedAndHaveNoKeyToName) {
  EXPECT_EQ(RefusalOfHistory({7, 100, 9}),
            "input 'history.values' has id 100 at index 1; table 'items' has ids 0 to 99");
  EXPECT_EQ(RefusalOfHistory({7, 8, -1}), "input 'history.values' has id -1 at index 2; table 'items' has ids 0 to 99");
  EXPECT_NE(RefusalOfHistory({std::numeric_limits<int32_t>::min(), 8, 9}), "");
}

TEST(CheckIds, EachKeyIsCheckedAgainstItsOwnTableOnly) {
  // The other way round than in the toy model: color has 20 ids and size has 10.
  const auto model = ParseManifest(Replaced(kToyManifest, R"("row": 0, "table": "colors"}, {"source": 0, "row": 1)",
                                            R"("row": 1, "table": "colors"}, {"source": 0, "row": 0)"));
  ASSERT_TRUE(model.ok());
  const auto ids = [](std::vector<int64_t> all) {
    return With(TwoCandidates(), Of<int64_t>("sparse.values", {4}, all));
  };
  EXPECT_EQ(Refusal(ids({19, 18, 17, 9}), model.value()), "");
  EXPECT_EQ(Refusal(ids({19, 18, 17, 10}), model.value()),
            "input 'sparse.values' has id 10 at index 3 (key 'size'); table 'colors' has ids 0 to 9");
}

TEST(CheckIds, KeyThatTwoTablesReadMustFitBoth) {
  const auto model =
      ParseManifest(Replaced(kToyManifest, R"("row": 1, "table": "sizes")", R"("row": 0, "table": "sizes")"));
  ASSERT_TRUE(model.ok());
  const auto ids = [](std::vector<int64_t> all) {
    return With(TwoCandidates(), Of<int64_t>("sparse.values", {4}, all));
  };
  EXPECT_NE(Refusal(ids({1, 2, 12, 0}), model.value()).find("table 'colors' has ids 0 to 9"), std::string::npos);
}

TEST(CheckIds, KeyThatNoTableReadsMayHoldAnything) {
  const auto model =
      ParseManifest(Replaced(kToyManifest, R"("row": 1, "table": "sizes")", R"("row": 0, "table": "sizes")"));
  ASSERT_TRUE(model.ok());
  EXPECT_EQ(Refusal(With(TwoCandidates(), Of<int64_t>("sparse.values", {4}, {1, 2, 3, kHuge})), model.value()), "");
}

TEST(CheckIds, EachTablesStrangersAreCountedThoughTheFirstIsAnError) {
  std::map<int32_t, uint64_t> counted;
  const IdPolicy policy{OutOfRange::kError, [&](int32_t table, uint64_t ids) { counted[table] += ids; }};
  const auto request = With(TwoCandidates(), Of<int64_t>("sparse.values", {4}, {-1, 10, 3, 20}));
  EXPECT_FALSE(CheckRequest(ToyModel(), request, policy).ok());
  EXPECT_EQ(counted, (std::map<int32_t, uint64_t>{{0, 2}, {1, 1}}));
}

TEST(CheckIds, AStrangerThatIsNoErrorMarksItsRequestItsPiecesAndItsBatch) {
  const Manifest model = ToyModel();
  uint64_t counted = 0;
  const IdPolicy policy{OutOfRange::kZero, [&](int32_t, uint64_t ids) { counted += ids; }};
  const auto clean = CheckRequest(model, TwoCandidates(), policy);
  const auto marked =
      CheckRequest(model, With(TwoCandidates(), Of<int32_t>("history.values", {3}, {7, 100, 9})), policy);
  ASSERT_TRUE(clean.ok() && marked.ok());
  EXPECT_EQ(counted, 1u);
  EXPECT_FALSE(clean.value().out_of_range);
  EXPECT_TRUE(marked.value().out_of_range);
  for (const CheckedRequest& piece : Cut(model, marked.value(), 1)) EXPECT_TRUE(piece.out_of_range);
  EXPECT_TRUE(Leading(model, marked.value(), 1).out_of_range);

  BatchBuffers buffers;
  const CheckedRequest* const both[] = {&clean.value(), &marked.value()};
  EXPECT_TRUE(Coalesce(model, both, buffers).out_of_range);
  EXPECT_FALSE(Coalesce(model, std::span(both).first(1), buffers).out_of_range);
}

}  // namespace
}  // namespace recpile
