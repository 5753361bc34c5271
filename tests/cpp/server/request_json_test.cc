#include "kserve/request_json.h"

#include <gtest/gtest.h>

#include <string>

namespace recpile::kserve {
namespace {

std::string WithData(const std::string& data) { return R"({"inputs":[{"name":"x","data":)" + data + "}]}"; }

std::string Error(const std::string& text) {
  const auto parsed = ParseRequestJson(text);
  return parsed.ok() ? "" : parsed.status().message();
}

Shape Nesting(const std::string& data) {
  const auto parsed = ParseRequestJson(WithData(data));
  EXPECT_TRUE(parsed.ok()) << parsed.status().message();
  return parsed.value().data.at(0).nesting;
}

TEST(RequestJson, KeepsDataOutOfTheTree) {
  const auto parsed = ParseRequestJson(R"({"inputs":[{"data":[1,-2],"name":"a"},{"name":"b"},{"data":[true,0.5]}]})");
  ASSERT_TRUE(parsed.ok());
  const auto& [tree, data] = parsed.value();
  EXPECT_EQ(tree.dump(), R"({"inputs":[{"data":null,"name":"a"},{"name":"b"},{"data":null}]})");
  ASSERT_EQ(data.size(), 2u);
  using Kind = PackedData::Kind;
  EXPECT_EQ(data.at(0).kinds, (std::vector{Kind::kUnsigned, Kind::kNegative}));
  EXPECT_EQ(data.at(2).kinds, (std::vector{Kind::kBool, Kind::kFloat}));
}

TEST(RequestJson, OnlyTheDataOfAnInputIsPacked) {
  const auto parsed = ParseRequestJson(R"({"data":[1],"outputs":[{"data":[2]}],"inputs":[{"p":{"data":[3]}}]})");
  ASSERT_TRUE(parsed.ok());
  EXPECT_TRUE(parsed.value().data.empty());
}

TEST(RequestJson, RecordsHowDataIsNested) {
  EXPECT_EQ(Nesting("[]"), (Shape{0}));
  EXPECT_EQ(Nesting("[1,2,3]"), (Shape{3}));
  EXPECT_EQ(Nesting("[[1,2,3],[4,5,6]]"), (Shape{2, 3}));
  EXPECT_EQ(Nesting("[[],[]]"), (Shape{2, 0}));
  EXPECT_EQ(Nesting("[[[1],[2]]]"), (Shape{1, 2, 1}));
}

TEST(RequestJson, RaggedDataIsRefused) {
  EXPECT_EQ(Error(WithData("[[1,2],[3]]")), "input 'x': data is ragged: one inner array has 2 elements, another 1");
  EXPECT_NE(Error(WithData("[[],[1]]")).find("ragged"), std::string::npos);
  for (const char* mixed : {"[1,[2]]", "[[1],2]", "[[],2]", "[[[1]],[2]]", "[[1],[[2]]]"}) {
    EXPECT_FALSE(Error(WithData(mixed)).empty()) << mixed;
  }
}

TEST(RequestJson, DataTakesOnlyNumbersAndBooleans) {
  EXPECT_EQ(Error(WithData(R"([1,"a"])")),
            "input 'x': data[1] is a string; JSON data takes numbers and booleans (send NaN and infinity in binary "
            "form)");
  EXPECT_NE(Error(WithData("[null]")).find("data[0] is null"), std::string::npos);
  EXPECT_NE(Error(WithData("[[1],{}]")).find("data[1] is an object"), std::string::npos);
}

TEST(RequestJson, AnUnnamedInputIsNamedByItsIndex) {
  EXPECT_EQ(Error(R"({"inputs":[{"name":"a"},{"data":[null]}]})").substr(0, 28), "inputs[1]: data[0] is null; ");
}

TEST(RequestJson, RepeatedKeysAreRefused) {
  EXPECT_EQ(Error(R"({"inputs":[],"inputs":[]})"), R"(key "inputs" appears twice in one object)");
  EXPECT_EQ(Error(R"({"inputs":[{"data":[1],"data":[2]}]})"), R"(key "data" appears twice in one object)");
}

TEST(RequestJson, NestingIsLimited) {
  const std::string brackets(1'000'000, '[');
  EXPECT_NE(Error(brackets).find("nested deeper than 32 levels"), std::string::npos);
  EXPECT_NE(Error(R"({"parameters":)" + brackets).find("nested deeper than 32 levels"), std::string::npos);
  EXPECT_NE(Error(WithData(brackets)).find("nested deeper than 8 arrays"), std::string::npos);
}

TEST(RequestJson, TheTreeIsLimited) {
  std::string many = R"({"parameters":[0)";
  for (int i = 0; i < (1 << 18); ++i) many += ",0";
  EXPECT_NE(Error(many + "]}").find("more than 262144 JSON values"), std::string::npos);
  std::string arrays = R"({"parameters":[[])";
  for (int i = 0; i < (1 << 18); ++i) arrays += ",[]";
  EXPECT_NE(Error(arrays + "]}").find("more than 262144 JSON values"), std::string::npos);
}

TEST(RequestJson, MalformedTextIsRefusedWithItsPlace) {
  EXPECT_EQ(Error("{\"a\":1,}").substr(0, 61), "the request is not valid JSON: parse error at line 1, column ");
  for (const char* bad : {"", "{", "[1", "{}x", "{\"a\"}", "nul", "\xff", "{\"a\":1e999}", "{\"a\":\"\xc3\x28\"}"}) {
    EXPECT_FALSE(Error(bad).empty()) << bad;
  }
}

TEST(RequestJson, LongTextIsQuotedInPart) {
  EXPECT_EQ(Excerpt("short"), "short");
  EXPECT_EQ(Excerpt(std::string(1000, 'a')).size(), 131u);
  EXPECT_LT(Error("{" + std::string(100'000, 'a')).size(), 400u);
}

}  // namespace
}  // namespace recpile::kserve
