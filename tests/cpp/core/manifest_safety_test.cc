// What a manifest could say that would make the runtime read out of bounds, were it believed.
#include <gtest/gtest.h>

#include <string>

#include "artifact/manifest.h"
#include "toy_model.h"

namespace recpile {
namespace {

using testing::kToyManifest;
using testing::Replaced;

std::string Refusal(std::string_view from, std::string_view to) {
  const auto parsed = ParseManifest(Replaced(kToyManifest, from, to));
  return parsed.ok() ? "" : parsed.status().message();
}

bool Says(const std::string& message, std::string_view words) { return message.find(words) != message.npos; }

constexpr std::string_view kDenseShape = R"("dtype": "fp32", "shape": ["candidate", 2])";

TEST(ManifestSafety, RowsOfADenseInputHaveAFixedSize) {
  for (const char* shape :
       {R"(["candidate", "width"])", R"(["candidate", 0])", R"(["candidate", 281474976710656, 32768])"}) {
    const std::string to = std::string(R"("dtype": "fp32", "shape": )") + shape;
    EXPECT_TRUE(Says(Refusal(kDenseShape, to), "input 'dense' must have rows of a fixed size")) << shape;
  }
}

TEST(ManifestSafety, ALookupReadsValuesAndLengthsOfOneInput) {
  EXPECT_TRUE(Says(Refusal(R"({"values": "history.values", "lengths": "history.lengths"})",
                           R"({"values": "history.values", "lengths": "sparse.lengths"})"),
                   "stage 'recent' joins the values and the lengths of different inputs"));
  EXPECT_TRUE(Says(Refusal(R"({"values": "history.values", "lengths": "history.lengths"})",
                           R"({"values": "dense", "lengths": "history.lengths"})"),
                   "stage 'recent' reads an input as what it is not"));
  EXPECT_TRUE(Says(Refusal(R"("lengths": "sparse.lengths", "weights": "sparse.weights"})",
                           R"("lengths": "sparse.lengths", "weights": "dense"})"),
                   "stage 'bags' reads an input as what it is not"));
}

TEST(ManifestSafety, ALookupReadsTheWeightsOfItsOwnIds) {
  std::string text = Replaced(kToyManifest, R"({"name": "history.lengths", "dtype": "int32", "shape": ["candidate"]})",
                              R"({"name": "history.lengths", "dtype": "int32", "shape": ["candidate"]},
                                 {"name": "history.weights", "dtype": "fp32", "shape": ["history.nnz"]})");
  text = Replaced(text, R"("weights": "sparse.weights"})", R"("weights": "history.weights"})");
  EXPECT_TRUE(Says(ParseManifest(text).status().message(),
                   "stage 'bags' joins the values and the weights of different inputs"));
}

TEST(ManifestSafety, ALookupsRowsAreNotTooLong) {
  EXPECT_TRUE(Says(Refusal(R"("rows": 100, "dim": 8, "dtype": "int8", "row_bytes": 12)",
                           R"("rows": 100, "dim": 268435457, "dtype": "int8", "row_bytes": 268435461)"),
                   "file of another size"));
}

TEST(ManifestSafety, NestingWithoutEndIsRefusedNotFollowed) {
  const std::string deep(200'000, '[');
  EXPECT_FALSE(ParseManifest(deep).ok());
  const std::string closed = deep + std::string(200'000, ']');
  EXPECT_FALSE(ParseManifest(closed).ok());
  EXPECT_TRUE(Says(Refusal(R"("format_version": 2)", R"("format_version": )" + closed), "version (none)"));
}

}  // namespace
}  // namespace recpile
