// A manifest's head, inputs, tables and files. manifest_graph_test.cc has its stages and outputs.
#include "artifact/manifest.h"

#include <gtest/gtest.h>

#include "toy_model.h"

namespace recpile {
namespace {

using testing::kToyManifest;
using testing::Replaced;
using testing::ToyModel;

// Why the toy manifest is refused when `from` in it is `to`.
std::string Refusal(std::string_view from, std::string_view to) {
  const auto parsed = ParseManifest(Replaced(kToyManifest, from, to));
  if (parsed.ok()) return "";
  EXPECT_EQ(parsed.status().code(), StatusCode::kInvalidArgument);
  const std::string head = "the manifest is malformed: ";
  EXPECT_EQ(parsed.status().message().substr(0, head.size()), head);
  return parsed.status().message().substr(head.size());
}

TEST(Manifest, HeadIsRead) {
  const Manifest toy = ToyModel();
  EXPECT_EQ(toy.name, "toy");
  EXPECT_EQ(toy.version, "7");
  EXPECT_EQ(toy.requires_.torch, "2.13");
  EXPECT_EQ(toy.requires_.fbgemm, "1.8");
  EXPECT_EQ(toy.requires_.arch, "x86_64");
  EXPECT_EQ(toy.requires_.cpu_features, (std::vector<std::string>{"avx2", "fma"}));
}

TEST(Manifest, InputsBecomeFlatTensorsInOrder) {
  const Manifest toy = ToyModel();
  ASSERT_EQ(toy.inputs.size(), 6u);
  const InputTensor& dense = toy.inputs[0];
  EXPECT_EQ(dense.spec.name, "dense");
  EXPECT_EQ(dense.role, InputRole::kDense);
  EXPECT_EQ(dense.spec.dtype, DType::kFp32);
  EXPECT_EQ(dense.spec.shape, (Shape{-1, 2}));
  const InputTensor& values = toy.inputs[1];
  EXPECT_EQ(values.spec.name, "sparse.values");
  EXPECT_EQ(values.role, InputRole::kValues);
  EXPECT_EQ(values.keys, 2);
  EXPECT_EQ(values.key_names, (std::vector<std::string>{"color", "size"}));
  EXPECT_EQ(values.partner, 2);
  const InputTensor& lengths = toy.inputs[2];
  EXPECT_EQ(lengths.role, InputRole::kLengths);
  EXPECT_EQ(lengths.spec.shape, (Shape{2, -1}));
  EXPECT_EQ(lengths.partner, 1);
  EXPECT_EQ(toy.inputs[3].role, InputRole::kWeights);
  EXPECT_EQ(toy.inputs[3].partner, 2);
  const InputTensor& history = toy.inputs[4];
  EXPECT_EQ(history.spec.dtype, DType::kInt32);
  EXPECT_EQ(history.keys, 1);
  EXPECT_TRUE(history.key_names.empty());
  EXPECT_EQ(history.partner, 5);
  EXPECT_EQ(toy.inputs[5].spec.shape, Shape{-1});
}

TEST(Manifest, TablesAreRead) {
  const Manifest toy = ToyModel();
  ASSERT_EQ(toy.tables.size(), 3u);
  const Table& items = toy.tables[2];
  EXPECT_EQ(items.name, "items");
  EXPECT_EQ(items.rows, 100);
  EXPECT_EQ(items.dim, 8);
  EXPECT_EQ(items.dtype, "int8");
  EXPECT_EQ(items.row_bytes, 12);  // 8, and half-precision scale and bias
  EXPECT_EQ(items.file, "data/recpile/tables/2");
  EXPECT_EQ(toy.files.at("data/recpile/tables/2").bytes, 1200u);
}

TEST(Manifest, OtherFormatOrVersionIsUnsupportedAndNamed) {
  const auto refusal = [](std::string_view from, std::string_view to) {
    const auto parsed = ParseManifest(Replaced(kToyManifest, from, to));
    EXPECT_EQ(parsed.status().code(), StatusCode::kUnsupported);
    return parsed.status().message();
  };
  EXPECT_EQ(refusal(R"("format_version": 2)", R"("format_version": 3)"),
            "the artifact has format 'recpile' version 3; this runtime reads 'recpile' version 2: export it again");
  EXPECT_NE(refusal(R"("format_version": 2)", R"("format_version": "1")").find("version \"1\""), std::string::npos);
  EXPECT_NE(refusal(R"("format_version": 2,)", "").find("version (none)"), std::string::npos);
  EXPECT_NE(refusal(R"("format": "recpile")", R"("format": "onnx")").find("format 'onnx'"), std::string::npos);
}

TEST(Manifest, WhatIsNotJsonIsMalformed) {
  for (const std::string_view text : {"", "{", "[]", "null", "3", "\"recpile\"", "{} {}", "\xff\xfe"}) {
    const auto parsed = ParseManifest(text);
    ASSERT_FALSE(parsed.ok()) << text;
    const bool unsupported = parsed.status().code() == StatusCode::kUnsupported;
    EXPECT_TRUE(unsupported || parsed.status().code() == StatusCode::kInvalidArgument) << text;
  }
}

TEST(Manifest, TruncatedAtEveryByteIsRefused) {
  for (size_t size = 0; size < kToyManifest.size(); ++size) {
    EXPECT_FALSE(ParseManifest(kToyManifest.substr(0, size)).ok()) << size << " bytes";
  }
}

TEST(Manifest, MissingFieldIsNamed) {
  for (const std::string field : {"model", "requires", "inputs", "outputs", "tables", "stages", "files"}) {
    const auto parsed = ParseManifest(Replaced(kToyManifest, "\n \"" + field + "\":", "\n \"other\":"));
    EXPECT_NE(parsed.status().message().find("key '" + field + "' not found"), std::string::npos) << field;
  }
}

TEST(Manifest, UnknownKindOfInputIsRefused) {
  EXPECT_EQ(Refusal(R"("kind": "jagged")", R"("kind": "ragged")"), "input 'history' has unknown kind 'ragged'");
}

TEST(Manifest, WrongNumberOfTensorsIsRefused) {
  EXPECT_EQ(Refusal(R"("kind": "jagged")", R"("kind": "dense")"), "input 'history' has a wrong number of tensors");
  EXPECT_EQ(Refusal(R"("name": "dense", "kind": "dense")", R"("name": "dense", "kind": "jagged")"),
            "input 'dense' has a wrong number of tensors");
}

TEST(Manifest, KeyedInputWithoutKeysIsRefused) {
  EXPECT_EQ(Refusal(R"("keys": ["color", "size"])", R"("keys": [])"), "input 'sparse' has no keys");
  EXPECT_NE(Refusal(R"("keys": ["color", "size"],)", "").find("key 'keys' not found"), std::string::npos);
}

TEST(Manifest, UnknownDtypeIsRefused) {
  EXPECT_EQ(Refusal(R"("dense", "dtype": "fp32")", R"("dense", "dtype": "fp8")"), "dense has unknown dtype 'fp8'");
  EXPECT_EQ(Refusal(R"("dtype": "int8", "row_bytes": 12)", R"("dtype": "int3", "row_bytes": 12)"),
            "table 'items' has unknown dtype 'int3'");
}

TEST(Manifest, JaggedTensorsHaveTheirTypes) {
  EXPECT_EQ(Refusal(R"("sparse.values", "dtype": "int64")", R"("sparse.values", "dtype": "fp32")"),
            "input 'sparse.values' must be int64 or int32");
  EXPECT_EQ(Refusal(R"("sparse.lengths", "dtype": "int64")", R"("sparse.lengths", "dtype": "int8")"),
            "input 'sparse.lengths' must be int64 or int32");
  EXPECT_EQ(Refusal(R"("sparse.weights", "dtype": "fp32")", R"("sparse.weights", "dtype": "fp16")"),
            "input 'sparse.weights' must be fp32");
}

TEST(Manifest, InputsHaveTheirShapes) {
  EXPECT_EQ(Refusal(R"("shape": ["candidate", 2])", R"("shape": [2, 2])"),
            "input 'dense' must have candidates or requests on its first axis");
  EXPECT_EQ(Refusal(R"("shape": ["candidate", 2])", R"("shape": [])"),
            "input 'dense' must have candidates or requests on its first axis");
  EXPECT_EQ(Refusal(R"("shape": [2, "candidate"])", R"("shape": [3, "candidate"])"),
            "input 'sparse.lengths' has a wrong shape");
  EXPECT_EQ(Refusal(R"("int32", "shape": ["candidate"])", R"("int32", "shape": [1, "candidate"])"),
            "input 'history.lengths' has a wrong shape");
  EXPECT_EQ(Refusal(R"("shape": ["history.nnz"])", R"("shape": [5])"), "input 'history.values' has a wrong shape");
}

TEST(Manifest, SizesAreWholeNumbersInRange) {
  EXPECT_EQ(Refusal(R"("shape": ["candidate", 2])", R"("shape": ["candidate", -2])"),
            "dense.shape is -2, out of range");
  EXPECT_EQ(Refusal(R"("rows": 10,)", R"("rows": -10,)"), "table 'colors'.rows is -10, out of range");
  EXPECT_EQ(Refusal(R"("rows": 10,)", R"("rows": 10.0,)"), "table 'colors'.rows must be a whole number");
  EXPECT_EQ(Refusal(R"("rows": 10,)", R"("rows": "10",)"), "table 'colors'.rows must be a whole number");
  EXPECT_EQ(Refusal(R"("rows": 10,)", R"("rows": 9223372036854775807,)"),
            "table 'colors'.rows is 9223372036854775807, out of range");
  EXPECT_NE(Refusal(R"("rows": 10,)", R"("rows": 18446744073709551615,)").find("out of range"), std::string::npos);
  EXPECT_NE(Refusal(R"("rows": 10,)", R"("rows": 99999999999999999999999,)"), "");
  EXPECT_NE(Refusal(R"("rows": 10,)", R"("rows": 1e999,)"), "");
  EXPECT_EQ(Refusal(R"("bytes": 80)", R"("bytes": -80)"), "data/recpile/tables/1 is -80, out of range");
}

TEST(Manifest, RowsHaveTheBytesOfTheirDtype) {
  EXPECT_EQ(Refusal(R"("row_bytes": 16)", R"("row_bytes": 20)"), "table 'colors' has rows of 20 bytes; expected 16");
  EXPECT_EQ(Refusal(R"("row_bytes": 4,)", R"("row_bytes": 0,)"), "table 'sizes' has rows of 0 bytes; expected 4");
  EXPECT_EQ(Refusal(R"("row_bytes": 12)", R"("row_bytes": 8)"), "table 'items' has rows of 8 bytes; expected 12");
}

TEST(Manifest, EmptyOrEnormousTableIsRefused) {
  EXPECT_EQ(Refusal(R"("rows": 10,)", R"("rows": 0,)"), "table 'colors' is empty");
  EXPECT_EQ(Refusal(R"("dim": 4, "dtype": "fp32", "row_bytes": 16)", R"("dim": 0, "dtype": "fp32", "row_bytes": 0)"),
            "table 'colors' is empty");
  EXPECT_EQ(Refusal(R"("rows": 10,)", R"("rows": 281474976710656,)"), "table 'colors' is too large");
}

TEST(Manifest, TableHasAFileOfItsSize) {
  EXPECT_EQ(Refusal(R"("file": "data/recpile/tables/1")", R"("file": "data/recpile/tables/9")"),
            "table 'sizes' has no file");
  EXPECT_EQ(Refusal(R"("bytes": 80)", R"("bytes": 76)"), "table 'sizes' has a file of another size");
}

}  // namespace
}  // namespace recpile
