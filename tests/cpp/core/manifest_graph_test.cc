// A manifest's stages and outputs: names resolved to numbers, and what does not fit together refused.
#include <gtest/gtest.h>

#include "artifact/manifest.h"
#include "toy_model.h"

namespace recpile {
namespace {

using testing::kToyManifest;
using testing::Replaced;
using testing::ToyModel;

std::string Refusal(std::string_view from, std::string_view to) {
  const auto parsed = ParseManifest(Replaced(kToyManifest, from, to));
  if (parsed.ok()) return "";
  EXPECT_EQ(parsed.status().code(), StatusCode::kInvalidArgument);
  return parsed.status().message().substr(std::string("the manifest is malformed: ").size());
}

TEST(ManifestGraph, ValuesAreNumberedInputsFirstThenStageByStage) {
  const Manifest toy = ToyModel();
  ASSERT_EQ(toy.stages.size(), 3u);
  EXPECT_EQ(toy.stages[0].inputs, (std::vector<ValueId>{1, 2, 3}));
  EXPECT_EQ(toy.stages[0].outputs, std::vector<ValueId>{6});
  EXPECT_EQ(toy.stages[1].outputs, std::vector<ValueId>{7});
  EXPECT_EQ(toy.stages[2].inputs, (std::vector<ValueId>{0, 6, 7}));
  EXPECT_EQ(toy.stages[2].outputs, std::vector<ValueId>{8});
  EXPECT_EQ(toy.values, 9);
}

TEST(ManifestGraph, LookupsAreRead) {
  const Manifest toy = ToyModel();
  const StageSpec& bags = toy.stages[0];
  EXPECT_EQ(bags.name, "bags");
  EXPECT_EQ(bags.kind, StageKind::kEmbedding);
  EXPECT_EQ(bags.pooling, Pooling::kSum);
  ASSERT_EQ(bags.sources.size(), 1u);
  EXPECT_EQ(bags.sources[0].values, 1);
  EXPECT_EQ(bags.sources[0].lengths, 2);
  EXPECT_EQ(bags.sources[0].weights, 3);
  ASSERT_EQ(bags.features.size(), 2u);
  EXPECT_EQ(bags.features[1].source, 0);
  EXPECT_EQ(bags.features[1].row, 1);
  EXPECT_EQ(bags.features[1].table, 1);
  const StageSpec& recent = toy.stages[1];
  EXPECT_EQ(recent.pooling, Pooling::kMean);
  EXPECT_EQ(recent.sources[0].weights, -1);
  EXPECT_EQ(toy.stages[2].kind, StageKind::kCompiled);
}

TEST(ManifestGraph, OutputsAreRead) {
  const Manifest toy = ToyModel();
  ASSERT_EQ(toy.outputs.size(), 1u);
  EXPECT_EQ(toy.outputs[0].spec.name, "score");
  EXPECT_EQ(toy.outputs[0].spec.dtype, DType::kFp32);
  EXPECT_EQ(toy.outputs[0].spec.shape, Shape{-1});
  EXPECT_EQ(toy.outputs[0].value, 8);
}

TEST(ManifestGraph, UnknownKindOfStageIsRefused) {
  EXPECT_EQ(Refusal(R"("kind": "compiled")", R"("kind": "remote")"),
            "stage 'dense' has kind 'remote', which this runtime does not know");
}

TEST(ManifestGraph, StagePlacedOnAnotherDeviceIsRefused) {
  EXPECT_EQ(Refusal(R"("kind": "compiled")", R"("kind": "compiled", "placement": {"device": "cuda:0"})"),
            "stage 'dense' is placed on device 'cuda:0', which this runtime does not have; it has 'cpu'");
}

TEST(ManifestGraph, LookupThatGivesAnotherTypeIsRefused) {
  EXPECT_EQ(Refusal(R"({"name": "bags/pooled", "dtype": "fp32")", R"({"name": "bags/pooled", "dtype": "fp64")"),
            "stage 'bags' gives fp64; a lookup gives fp32 or bf16");
}

TEST(ManifestGraph, StageThatReadsAnUnknownValueIsRefused) {
  EXPECT_EQ(Refusal(R"(["dense", "bags/pooled")", R"(["dense", "bags/sum")"),
            "stage 'dense' reads value 'bags/sum', which nothing before it gives");
}

TEST(ManifestGraph, StageThatReadsWhatComesLaterIsRefused) {
  EXPECT_EQ(Refusal(R"("inputs": ["history.values", "history.lengths"])", R"("inputs": ["dense/score"])"),
            "stage 'recent' reads value 'dense/score', which nothing before it gives");
}

TEST(ManifestGraph, ValueGivenTwiceIsRefused) {
  EXPECT_EQ(Refusal(R"("outputs": [{"name": "recent/pooled")", R"("outputs": [{"name": "bags/pooled")"),
            "value 'bags/pooled' is given twice");
  EXPECT_EQ(Refusal(R"({"name": "history.values")", R"({"name": "sparse.values")"),
            "value 'sparse.values' is given twice");
  EXPECT_EQ(Refusal(R"("outputs": [{"name": "dense/score")", R"("outputs": [{"name": "dense")"),
            "value 'dense' is given twice");
}

TEST(ManifestGraph, LookupOfAnUnknownTableIsRefused) {
  EXPECT_EQ(Refusal(R"("table": "sizes")", R"("table": "shapes")"), "stage 'bags' looks up unknown table 'shapes'");
}

TEST(ManifestGraph, LookupGoesTableByTable) {
  EXPECT_EQ(Refusal(R"("row": 0, "table": "colors"}, {"source": 0, "row": 1, "table": "sizes")",
                    R"("row": 1, "table": "sizes"}, {"source": 0, "row": 0, "table": "colors")"),
            "stage 'bags' must go table by table");
}

TEST(ManifestGraph, OneTableMayServeSeveralFeatures) {
  EXPECT_EQ(Refusal(R"("row": 1, "table": "sizes")", R"("row": 1, "table": "colors")"), "");
}

TEST(ManifestGraph, LookupOfAKeyThatIsNotThereIsRefused) {
  EXPECT_EQ(Refusal(R"("row": 1, "table": "sizes")", R"("row": 2, "table": "sizes")"),
            "stage 'bags' reads a key that is not there");
  EXPECT_EQ(Refusal(R"("row": 0, "table": "items")", R"("row": 1, "table": "items")"),
            "stage 'recent' reads a key that is not there");
  EXPECT_EQ(Refusal(R"("row": 1, "table": "sizes")", R"("row": -1, "table": "sizes")"),
            "stage 'bags'.row is -1, out of range");
}

TEST(ManifestGraph, LookupInASourceThatIsNotThereIsRefused) {
  EXPECT_EQ(Refusal(R"("source": 0, "row": 0, "table": "items")", R"("source": 1, "row": 0, "table": "items")"),
            "stage 'recent' names a source that it does not have");
  EXPECT_EQ(Refusal(R"("sources": [{"values": "history.values", "lengths": "history.lengths"}])", R"("sources": [])"),
            "stage 'recent' names a source that it does not have");
}

TEST(ManifestGraph, LookupWithoutFeaturesOrWithTwoOutputsIsRefused) {
  EXPECT_EQ(Refusal(R"([{"source": 0, "row": 0, "table": "items"}])", "[]"),
            "stage 'recent' must have features and one output");
  EXPECT_EQ(
      Refusal(R"("outputs": [{"name": "recent/pooled",)", R"("outputs": [{"name": "more"}, {"name": "recent/pooled",)"),
      "stage 'recent' must have features and one output");
}

TEST(ManifestGraph, WeightedAndUnweightedSourcesDoNotMix) {
  EXPECT_EQ(Refusal(R"("lengths": "sparse.lengths", "weights": "sparse.weights"}])",
                    R"("lengths": "sparse.lengths", "weights": "sparse.weights"},
                       {"values": "history.values", "lengths": "history.lengths"}])"),
            "stage 'bags' mixes weighted and unweighted sources");
}

TEST(ManifestGraph, UnknownPoolingIsRefused) {
  EXPECT_EQ(Refusal(R"("pooling": "mean")", R"("pooling": "max")"), "stage 'recent' has unknown pooling 'max'");
}

TEST(ManifestGraph, OutputWithoutABatchAxisInFrontIsRefused) {
  const std::string_view shape = R"("value": "dense/score", "dtype": "fp32", "shape": ["candidate"])";
  EXPECT_EQ(Refusal(shape, R"("value": "dense/score", "dtype": "fp32", "shape": [])"),
            "output 'score' must have candidates or requests on its first axis");
  EXPECT_EQ(Refusal(shape, R"("value": "dense/score", "dtype": "fp32", "shape": [1, "candidate"])"),
            "output 'score' must have candidates or requests on its first axis");
}

TEST(ManifestGraph, OutputThatNothingGivesIsRefused) {
  EXPECT_EQ(Refusal(R"("value": "dense/score")", R"("value": "dense/logit")"),
            "output 'score' reads value 'dense/logit', which nothing before it gives");
}

TEST(ManifestGraph, ModelWithoutInputsOrOutputsIsRefused) {
  const auto refusal = [](std::string_view text) { return ParseManifest(text).status().message(); };
  const std::string head = R"({"format": "recpile", "format_version": 2, "model": {"name": "m", "version": "1"},
    "requires": {"torch": "", "fbgemm": "", "arch": "", "cpu_features": []}, "tables": [], "stages": [], "files": {},)";
  EXPECT_EQ(refusal(head + R"("inputs": [], "outputs": []})"), "the manifest is malformed: there are no inputs");
  EXPECT_EQ(refusal(head + R"("outputs": [], "inputs": [{"name": "x", "kind": "dense",
                    "tensors": [{"name": "x", "dtype": "fp32", "shape": ["candidate"]}]}]})"),
            "the manifest is malformed: there are no outputs");
}

}  // namespace
}  // namespace recpile
