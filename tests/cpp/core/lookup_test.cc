// What an embedding stage may look up: fixed sources, unpooled lookups, row formats; and what does not fit together.
#include <gtest/gtest.h>

#include <limits>

#include "coalesce/segments.h"
#include "toy_model.h"

namespace recpile {
namespace {

using testing::Of;
using testing::Replaced;

// ids [B, 6] of which the first four columns are bags of one table and the last two are single ids of another; user ids
// [request, 2]; a history whose rows come out one an id.
constexpr std::string_view kManifest = R"({
 "format": "recpile", "format_version": 2,
 "requires": {"torch": "2.13", "fbgemm": "1.8", "arch": "x86_64", "cpu_features": []},
 "model": {"name": "lookups", "version": "1"},
 "inputs": [
  {"name": "ids", "kind": "dense", "tensors": [{"name": "ids", "dtype": "int64", "shape": ["candidate", 6]}]},
  {"name": "score", "kind": "dense", "tensors": [{"name": "score", "dtype": "fp32", "shape": ["candidate", 6]}]},
  {"name": "user", "kind": "dense", "tensors": [{"name": "user", "dtype": "int32", "shape": ["request", 2]}]},
  {"name": "history", "kind": "keyed_jagged", "keys": ["seen", "bought"], "tensors": [
   {"name": "history.values", "dtype": "int64", "shape": ["history.nnz"]},
   {"name": "history.lengths", "dtype": "int64", "shape": [2, "candidate"]},
   {"name": "history.weights", "dtype": "fp32", "shape": ["history.nnz"]}]}],
 "outputs": [{"name": "answer", "value": "dense/answer", "dtype": "fp32", "shape": ["candidate"]}],
 "tables": [
  {"name": "a", "rows": 10, "dim": 4, "dtype": "int4", "row_bytes": 6, "file": "data/recpile/tables/0"},
  {"name": "b", "rows": 20, "dim": 4, "dtype": "int2", "row_bytes": 5, "file": "data/recpile/tables/1"},
  {"name": "c", "rows": 20, "dim": 3, "dtype": "fp32", "row_bytes": 12, "file": "data/recpile/tables/2"}],
 "stages": [
  {"name": "fixed", "kind": "embedding", "inputs": ["ids"], "outputs": [{"name": "fixed/pooled"}], "pooling": "sum",
   "sources": [{"values": "ids", "columns": 6}],
   "features": [{"source": 0, "row": 0, "size": 4, "table": "a"}, {"source": 0, "row": 4, "size": 1, "table": "b"},
                {"source": 0, "row": 5, "size": 1, "table": "b"}]},
  {"name": "users", "kind": "embedding", "inputs": ["user"], "outputs": [{"name": "users/pooled"}], "pooling": "mean",
   "sources": [{"values": "user", "columns": 1}], "features": [{"source": 0, "row": 0, "size": 1, "table": "c"}]},
  {"name": "rows", "kind": "embedding", "inputs": ["history.values", "history.lengths"],
   "outputs": [{"name": "rows/rows"}], "pooling": "none",
   "sources": [{"values": "history.values", "lengths": "history.lengths"}],
   "features": [{"source": 0, "row": 1, "table": "a"}, {"source": 0, "row": 0, "table": "b"}]},
  {"name": "dense", "kind": "compiled", "inputs": ["fixed/pooled", "users/pooled", "rows/rows"],
   "outputs": [{"name": "dense/answer"}]}],
 "files": {
  "data/recpile/tables/0": {"bytes": 60, "xxh3": ""}, "data/recpile/tables/1": {"bytes": 100, "xxh3": ""},
  "data/recpile/tables/2": {"bytes": 240, "xxh3": ""}}
})";

// Pieces of it that tests change.
constexpr std::string_view kIdsSource = R"({"values": "ids", "columns": 6})";
constexpr std::string_view kUserSource = R"({"values": "user", "columns": 1})";
constexpr std::string_view kRowsSource = R"([{"values": "history.values", "lengths": "history.lengths"}])";

Result<Manifest> With(std::string_view from, std::string_view to) {
  return ParseManifest(from.empty() ? std::string(kManifest) : Replaced(kManifest, from, to));
}

std::string Refusal(std::string_view from, std::string_view to) {
  const auto parsed = With(from, to);
  if (parsed.ok()) return "";
  EXPECT_EQ(parsed.status().code(), StatusCode::kInvalidArgument);
  return parsed.status().message().substr(std::string("the manifest is malformed: ").size());
}

TEST(Lookup, FixedSourcesAndTheirFeaturesAreRead) {
  const auto model = With("", "");
  ASSERT_TRUE(model.ok()) << model.status().message();
  const StageSpec& fixed = model.value().stages[0];
  EXPECT_TRUE(fixed.sources[0].fixed());
  EXPECT_EQ(fixed.sources[0].columns, 6);
  EXPECT_EQ(fixed.features[0].size, 4);
  EXPECT_EQ(fixed.features[2].row, 5);
  EXPECT_EQ(model.value().stages[1].pooling, Pooling::kMean);
  EXPECT_EQ(model.value().stages[2].pooling, Pooling::kNone);
  EXPECT_FALSE(model.value().stages[2].sources[0].fixed());
}

TEST(Lookup, SourceHasLengthsOrColumns) {
  const std::string wanted = "stage 'fixed' has a source that needs either \"lengths\" or \"columns\"";
  EXPECT_EQ(Refusal(kIdsSource, R"({"values": "ids"})"), wanted);
  EXPECT_EQ(Refusal(kIdsSource, R"({"values": "ids", "columns": 6, "lengths": "history.lengths"})"), wanted);
}

TEST(Lookup, ColumnsAreAPositiveNumber) {
  EXPECT_EQ(Refusal(kIdsSource, R"({"values": "ids", "columns": 0})"), "stage 'fixed'.columns is 0, out of range");
  EXPECT_EQ(Refusal(kIdsSource, R"({"values": "ids", "columns": -6})"), "stage 'fixed'.columns is -6, out of range");
  EXPECT_EQ(Refusal(kIdsSource, R"({"values": "ids", "columns": 281474976710656})"),
            "stage 'fixed'.columns is 281474976710656, out of range");
  EXPECT_EQ(Refusal(kIdsSource, R"({"values": "ids", "columns": "6"})"),
            "stage 'fixed'.columns must be a whole number");
}

TEST(Lookup, FeatureStaysInsideItsColumns) {
  EXPECT_EQ(Refusal(R"("row": 5, "size": 1, "table": "b")", R"("row": 5, "size": 2, "table": "b")"),
            "stage 'fixed' reads columns 5 to 6 of a source that has 6");
  EXPECT_EQ(Refusal(R"("row": 0, "size": 1, "table": "c")", R"("row": 1, "size": 1, "table": "c")"),
            "stage 'users' reads columns 1 to 1 of a source that has 1");
  EXPECT_EQ(Refusal(R"("row": 0, "size": 4)", R"("row": 0, "size": 0)"),
            "stage 'fixed' reads columns 0 to -1 of a source that has 6");
  EXPECT_NE(Refusal(R"("row": 0, "size": 4, )", R"("row": 0, )").find("key 'size' not found"), std::string::npos);
}

TEST(Lookup, FeaturesMayShareColumns) {
  EXPECT_EQ(Refusal(R"("row": 5, "size": 1, "table": "b")", R"("row": 0, "size": 6, "table": "b")"), "");
}

TEST(Lookup, SizeOfABagWithLengthsIsRefused) {
  EXPECT_EQ(Refusal(R"({"source": 0, "row": 0, "table": "b"})", R"({"source": 0, "row": 0, "size": 1, "table": "b"})"),
            "stage 'rows' gives a size for bags whose source has lengths");
}

TEST(Lookup, RowsOfAnInputAreNotCutAcross) {
  EXPECT_EQ(Refusal(kIdsSource, R"({"values": "ids", "columns": 12})"),
            "stage 'fixed' cuts 'ids', whose rows have 6 ids, into bags of 12");
  EXPECT_EQ(Refusal(kUserSource, R"({"values": "user", "columns": 2})"), "");
  // How many ids a jagged input has varies: one by one is all that fits.
  EXPECT_EQ(Refusal(kUserSource, R"({"values": "history.values", "columns": 1})"), "");
  EXPECT_EQ(Refusal(kUserSource, R"({"values": "history.values", "columns": 2})"),
            "stage 'users' cuts 'history.values', whose rows have 1 ids, into bags of 2");
  EXPECT_EQ(Refusal(kUserSource, R"({"values": "history.lengths", "columns": 1})"), "");
}

TEST(Lookup, IdsAreWholeNumbers) {
  EXPECT_EQ(Refusal(kIdsSource, R"({"values": "score", "columns": 6})"),
            "stage 'fixed' has ids 'score', which must be int64 or int32");
}

TEST(Lookup, WeightsHaveTheShapeOfTheirIds) {
  EXPECT_EQ(Refusal(kIdsSource, R"({"values": "ids", "columns": 6, "weights": "score"})"), "");
  EXPECT_EQ(Refusal(kIdsSource, R"({"values": "ids", "columns": 6, "weights": "user"})"),
            "stage 'fixed' has weights 'user', which must be fp32");
  EXPECT_EQ(Refusal(kUserSource, R"({"values": "user", "columns": 1, "weights": "score"})"),
            "stage 'users' has weights 'score' of another shape than ids 'user'");
  EXPECT_EQ(Refusal(kUserSource, R"({"values": "history.values", "columns": 1, "weights": "history.weights"})"), "");
  EXPECT_EQ(Refusal(kUserSource, R"({"values": "history.lengths", "columns": 1, "weights": "history.weights"})"),
            "stage 'users' has weights 'history.weights' of another shape than ids 'history.lengths'");
}

TEST(Lookup, SourcesHaveTheSameNumberOfBags) {
  const std::string wanted = "stage 'users' has sources with different numbers of bags";
  const auto beside = [](std::string_view source) {
    return Refusal(kUserSource, std::string(kUserSource) + ", " + std::string(source));
  };
  EXPECT_EQ(beside(R"({"values": "user", "columns": 2})"), wanted);
  EXPECT_EQ(beside(R"({"values": "ids", "columns": 3})"), wanted);  // two a candidate, not two a request
  EXPECT_EQ(beside(R"({"values": "history.values", "columns": 1})"), wanted);
  EXPECT_EQ(beside(R"({"values": "history.values", "lengths": "history.lengths"})"), wanted);
  EXPECT_EQ(beside(kUserSource), "");
  // Both kinds in one lookup: a bag a candidate each.
  EXPECT_EQ(Refusal(kIdsSource, std::string(kIdsSource) + R"(, {"values": "history.values",
                                                               "lengths": "history.lengths"})"),
            "");
}

TEST(Lookup, UnpooledLookupHasOneSourceWithLengthsAndNoWeights) {
  const std::string one = "stage 'rows' has pooling 'none', which needs exactly one source, with lengths";
  EXPECT_EQ(Refusal(kRowsSource, R"([{"values": "history.values", "lengths": "history.lengths"},
                                     {"values": "history.values", "lengths": "history.lengths"}])"),
            one);
  EXPECT_EQ(Refusal(R"("pooling": "mean")", R"("pooling": "none")"),
            "stage 'users' has pooling 'none', which needs exactly one source, with lengths");
  EXPECT_EQ(Refusal(kRowsSource, R"([{"values": "history.values", "lengths": "history.lengths",
                                      "weights": "history.weights"}])"),
            "stage 'rows' has pooling 'none', which takes no weights");
}

TEST(Lookup, UnpooledLookupGivesEachIdOneRowOfOneSize) {
  EXPECT_EQ(Refusal(R"({"source": 0, "row": 0, "table": "b"}])", R"({"source": 0, "row": 1, "table": "b"}])"),
            "stage 'rows' has pooling 'none' and looks up row 1 twice");
  EXPECT_EQ(Refusal(R"({"source": 0, "row": 0, "table": "b"}])", R"({"source": 0, "row": 0, "table": "c"}])"),
            "stage 'rows' has pooling 'none' and tables of different dims");
  EXPECT_EQ(Refusal(R"(, {"source": 0, "row": 0, "table": "b"}])", "]"), "");
}

TEST(Lookup, RowsOfHalfABytesWidthAreWholeBytes) {
  EXPECT_EQ(Refusal(R"("dim": 4, "dtype": "int4", "row_bytes": 6)", R"("dim": 5, "dtype": "int4", "row_bytes": 7)"),
            "table 'a' has a dim of 5; rows of int4 need a multiple of 2");
  EXPECT_EQ(Refusal(R"("dim": 4, "dtype": "int2", "row_bytes": 5)", R"("dim": 6, "dtype": "int2", "row_bytes": 6)"),
            "table 'b' has a dim of 6; rows of int2 need a multiple of 4");
  EXPECT_EQ(Refusal(R"("dtype": "int4", "row_bytes": 6)", R"("dtype": "int4", "row_bytes": 8)"),
            "table 'a' has rows of 8 bytes; expected 6");
}

// Two candidates; ids of the third feature are columns 5.
std::string RequestRefusal(std::vector<int64_t> ids, std::vector<int32_t> user, std::vector<int64_t> history) {
  const auto model = With("", "");
  const auto checked = CheckRequest(
      model.value(),
      {{Of<int64_t>("ids", {2, 6}, std::move(ids)), Of<float>("score", {2, 6}, std::vector<float>(12)),
        Of<int32_t>("user", {1, 2}, std::move(user)), Of<int64_t>("history.values", {3}, std::move(history)),
        Of<int64_t>("history.lengths", {2, 2}, {1, 0, 1, 1}), Of<float>("history.weights", {3}, {1, 1, 1})}});
  return checked.ok() ? "" : checked.status().message();
}

TEST(CheckIds, EveryColumnIsCheckedAgainstTheTablesThatReadIt) {
  const std::vector<int64_t> good = {9, 9, 9, 9, 19, 19, 0, 0, 0, 0, 0, 0};
  EXPECT_EQ(RequestRefusal(good, {19, 0}, {19, 9, 9}), "");
  const auto with = [&](size_t at, int64_t id) {
    std::vector<int64_t> ids = good;
    ids[at] = id;
    return RequestRefusal(ids, {19, 0}, {19, 9, 9});
  };
  EXPECT_EQ(with(9, 10), "input 'ids' has id 10 at index 9; table 'a' has ids 0 to 9");
  EXPECT_EQ(with(0, -1), "input 'ids' has id -1 at index 0; table 'a' has ids 0 to 9");
  EXPECT_EQ(with(10, 19), "");
  EXPECT_EQ(with(4, 20), "input 'ids' has id 20 at index 4; table 'b' has ids 0 to 19");
  EXPECT_EQ(with(11, std::numeric_limits<int64_t>::max()),
            "input 'ids' has id 9223372036854775807 at index 11; table 'b' has ids 0 to 19");
}

TEST(CheckIds, FixedAndUnpooledLookupsAreCheckedToo) {
  const std::vector<int64_t> ids(12, 0);
  EXPECT_EQ(RequestRefusal(ids, {0, 20}, {0, 0, 0}), "input 'user' has id 20 at index 1; table 'c' has ids 0 to 19");
  EXPECT_EQ(RequestRefusal(ids, {0, 0}, {20, 0, 0}),
            "input 'history.values' has id 20 at index 0 (key 'seen'); table 'b' has ids 0 to 19");
  EXPECT_EQ(RequestRefusal(ids, {0, 0}, {0, 0, 10}),
            "input 'history.values' has id 10 at index 2 (key 'bought'); table 'a' has ids 0 to 9");
}

TEST(CheckIds, IdsWhoseOwnersAStageComputesAreLeftToTheLookup) {
  // The lengths have more rows than the input has keys: what the request says of the ids means nothing here.
  std::string text = Replaced(kManifest, R"( "stages": [)", R"( "stages": [{"name": "cut", "kind": "compiled",
    "inputs": ["history.lengths"], "outputs": [{"name": "cut/lengths"}]},)");
  text = Replaced(text, kRowsSource, R"([{"values": "history.values", "lengths": "cut/lengths"}])");
  text = Replaced(text, R"({"source": 0, "row": 1, "table": "a"})", R"({"source": 0, "row": 7, "table": "a"})");
  const auto model = ParseManifest(text);
  ASSERT_TRUE(model.ok()) << model.status().message();
  const auto checked = CheckRequest(
      model.value(),
      {{Of<int64_t>("ids", {1, 6}, std::vector<int64_t>(6)), Of<float>("score", {1, 6}, std::vector<float>(6)),
        Of<int32_t>("user", {1, 2}, {0, 0}), Of<int64_t>("history.values", {1}, {1000}),
        Of<int64_t>("history.lengths", {2, 1}, {1, 0}), Of<float>("history.weights", {1}, {1})}});
  EXPECT_TRUE(checked.ok()) << checked.status().message();
}

}  // namespace
}  // namespace recpile
