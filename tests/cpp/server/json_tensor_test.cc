#include "kserve/json_tensor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "kserve/tensor_bytes.h"
#include "support.h"

namespace recpile::kserve {
namespace {

using testing::Values;

Result<Tensor> Read(DType dtype, const Shape& shape, const std::string& data) {
  const auto parsed = ParseRequestJson(R"({"inputs":[{"data":)" + data + "}]}");
  EXPECT_TRUE(parsed.ok()) << parsed.status().message();
  return TensorFromPacked("x", dtype, shape, parsed.value().data.at(0));
}

std::string ReadError(DType dtype, const Shape& shape, const std::string& data) {
  const auto tensor = Read(dtype, shape, data);
  return tensor.ok() ? "" : tensor.status().message();
}

template <typename T>
std::string Write(DType dtype, const std::vector<T>& values) {
  const Tensor tensor{.name = "y",
                      .dtype = dtype,
                      .shape = {static_cast<int64_t>(values.size())},
                      .data = std::as_bytes(std::span<const T>(values))};
  std::string text;
  AppendJsonData(tensor, &text);
  return text;
}

TEST(JsonTensor, ReadsEveryDatatype) {
  EXPECT_EQ(Values<uint8_t>(Read(DType::kBool, {4}, "[true,false,1,0]").value()), (std::vector<uint8_t>{1, 0, 1, 0}));
  EXPECT_EQ(Values<uint8_t>(Read(DType::kUint8, {2}, "[0,255]").value()), (std::vector<uint8_t>{0, 255}));
  EXPECT_EQ(Values<int8_t>(Read(DType::kInt8, {2}, "[-128,127]").value()), (std::vector<int8_t>{-128, 127}));
  EXPECT_EQ(Values<int32_t>(Read(DType::kInt32, {2}, "[-2147483648,2147483647]").value()),
            (std::vector<int32_t>{std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max()}));
  EXPECT_EQ(Values<int64_t>(Read(DType::kInt64, {2}, "[-9223372036854775808,9223372036854775807]").value()),
            (std::vector<int64_t>{std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max()}));
  EXPECT_EQ(Values<float>(Read(DType::kFp32, {3}, "[1,-2,0.1]").value()), (std::vector<float>{1, -2, 0.1f}));
  EXPECT_EQ(Values<double>(Read(DType::kFp64, {2}, "[1e308,-0.1]").value()), (std::vector<double>{1e308, -0.1}));
}

TEST(JsonTensor, IntegersMayBeSpelledAsFloats) {
  EXPECT_EQ(Values<int64_t>(Read(DType::kInt64, {3}, "[3.0,1e3,-2.0]").value()), (std::vector<int64_t>{3, 1000, -2}));
}

TEST(JsonTensor, AValueTheTypeCannotHoldIsRefusedByIndex) {
  EXPECT_EQ(ReadError(DType::kInt64, {3}, "[1,2,3.5]"), "input 'x': data[2] is 3.5, which is not a value of INT64");
  EXPECT_EQ(ReadError(DType::kInt32, {1}, "[1e30]"), "input 'x': data[0] is 1e+30, which is not a value of INT32");
  EXPECT_EQ(ReadError(DType::kUint8, {2}, "[1,300]"), "input 'x': data[1] is 300, which is not a value of UINT8");
  EXPECT_EQ(ReadError(DType::kInt64, {1}, "[true]"), "input 'x': data[0] is true, which is not a value of INT64");
  EXPECT_NE(ReadError(DType::kUint8, {1}, "[-1]"), "");
  EXPECT_NE(ReadError(DType::kInt8, {1}, "[128]"), "");
  EXPECT_NE(ReadError(DType::kInt32, {1}, "[2147483648]"), "");
  EXPECT_NE(ReadError(DType::kInt32, {1}, "[2147483648.0]"), "");
  EXPECT_NE(ReadError(DType::kInt64, {1}, "[9223372036854775808]"), "");
  EXPECT_NE(ReadError(DType::kInt64, {1}, "[9223372036854775808.0]"), "");
  EXPECT_NE(ReadError(DType::kInt64, {1}, "[18446744073709551616]"), "");
  EXPECT_NE(ReadError(DType::kBool, {1}, "[2]"), "");
  EXPECT_NE(ReadError(DType::kBool, {1}, "[-1]"), "");
  EXPECT_NE(ReadError(DType::kBool, {1}, "[1.0]"), "");
  EXPECT_NE(ReadError(DType::kFp32, {1}, "[1e39]"), "");
  EXPECT_NE(ReadError(DType::kFp32, {1}, "[false]"), "");
}

TEST(JsonTensor, FloatsAtTheEdgeRoundInsteadOfOverflowing) {
  const float max = std::numeric_limits<float>::max();
  EXPECT_EQ(Values<float>(Read(DType::kFp32, {2}, "[3.4028235e+38,-3.4028235e38]").value()),
            (std::vector<float>{max, -max}));
  EXPECT_NE(ReadError(DType::kFp32, {1}, "[3.4028236e38]"), "");
}

TEST(JsonTensor, TheCountMustSuitTheShape) {
  EXPECT_EQ(ReadError(DType::kFp32, {2, 2}, "[1,2,3]"), "input 'x': data has 3 values, but shape [2, 2] needs 4");
  EXPECT_EQ(ReadError(DType::kFp32, {0, 4}, "[]"), "");
  EXPECT_EQ(ReadError(DType::kFp32, {}, "[1]"), "");
}

TEST(JsonTensor, NestingMustFollowTheShape) {
  EXPECT_EQ(ReadError(DType::kFp32, {2, 2}, "[[1,2],[3,4]]"), "");
  EXPECT_EQ(ReadError(DType::kFp32, {2, 0}, "[[],[]]"), "");
  EXPECT_EQ(ReadError(DType::kFp32, {4, 1}, "[[1,2],[3,4]]"),
            "input 'x': data is nested as [2, 2], but shape says [4, 1]; nest it alike or send it flat");
}

TEST(JsonTensor, SixteenBitFloatsHaveNoJsonForm) {
  EXPECT_EQ(ReadError(DType::kBf16, {1}, "[1]"),
            "input 'x': BF16 has no JSON form; send it as a binary tensor (parameter binary_data_size)");
  EXPECT_NE(ReadError(DType::kFp16, {1}, "[1]"), "");
}

TEST(JsonTensor, ElementCountRefusesNegativesAndOverflow) {
  EXPECT_EQ(ElementCount({}), 1u);
  EXPECT_EQ(ElementCount({3, 0, 5}), 0u);
  EXPECT_EQ(ElementCount({2, 3}), 6u);
  EXPECT_FALSE(ElementCount({2, -1}));
  const int64_t huge = int64_t{1} << 40;
  EXPECT_FALSE(ElementCount({huge, huge}));
  EXPECT_FALSE(ElementCount({0, huge, huge}));
  EXPECT_FALSE(ElementCount({std::numeric_limits<int64_t>::max()}));
}

TEST(JsonTensor, FloatsAreWrittenWithTheFewestDigitsThatGiveThemBack) {
  EXPECT_EQ(Write<float>(DType::kFp32, {0.1f, 1, -2.5f, 1e-10f}), "[0.1,1,-2.5,1e-10]");
  EXPECT_EQ(Write<double>(DType::kFp64, {0.1, 1e300}), "[0.1,1e+300]");
  const float max = std::numeric_limits<float>::max();
  EXPECT_EQ(Values<float>(Read(DType::kFp32, {1}, Write<float>(DType::kFp32, {max})).value()), std::vector<float>{max});
}

TEST(JsonTensor, WritesIntegersAndBools) {
  EXPECT_EQ(Write<int64_t>(DType::kInt64, {std::numeric_limits<int64_t>::min(), 7}), "[-9223372036854775808,7]");
  EXPECT_EQ(Write<int8_t>(DType::kInt8, {-1, 65}), "[-1,65]");
  EXPECT_EQ(Write<uint8_t>(DType::kUint8, {255}), "[255]");
  EXPECT_EQ(Write<uint8_t>(DType::kBool, {1, 0}), "[true,false]");
  EXPECT_EQ(Write<float>(DType::kFp32, {}), "[]");
}

TEST(JsonTensor, WhatJsonCannotSayIsNull) {
  EXPECT_EQ(Write<float>(DType::kFp32, {std::nanf(""), INFINITY, -INFINITY, 1}), "[null,null,null,1]");
}

}  // namespace
}  // namespace recpile::kserve
