#include "recpile/tensor.h"

#include <gtest/gtest.h>

namespace recpile {
namespace {

TEST(DTypeName, IsReadBackAsWhatItNames) {
  for (const DType dtype : {DType::kBool, DType::kUint8, DType::kInt8, DType::kInt32, DType::kInt64, DType::kFp16,
                            DType::kBf16, DType::kFp32, DType::kFp64}) {
    EXPECT_EQ(DTypeFromName(DTypeName(dtype)), dtype);
  }
}

TEST(DTypeName, IsExact) {
  EXPECT_EQ(DTypeFromName("fp32"), DType::kFp32);
  for (const std::string_view name : {"", "FP32", "float32", "fp3", "fp32 "}) EXPECT_FALSE(DTypeFromName(name)) << name;
}

TEST(DTypeBytes, IsTheSizeOfOneElement) {
  EXPECT_EQ(DTypeBytes(DType::kBool), 1u);
  EXPECT_EQ(DTypeBytes(DType::kBf16), 2u);
  EXPECT_EQ(DTypeBytes(DType::kFp32), 4u);
  EXPECT_EQ(DTypeBytes(DType::kInt64), 8u);
}

TEST(ShapeToString, IsWrittenAsAList) {
  EXPECT_EQ(ShapeToString({}), "[]");
  EXPECT_EQ(ShapeToString({2, 13}), "[2, 13]");
  EXPECT_EQ(ShapeToString({-1}), "[-1]");
}

TEST(Tensor, CopyIsAViewOfTheSameBytes) {
  const float values[] = {1, 2, 3};
  const Tensor tensor{"x", DType::kFp32, {3}, std::as_bytes(std::span(values)), nullptr};
  const Tensor copy = tensor;
  EXPECT_EQ(copy.as<float>().data(), values);
  EXPECT_EQ(copy.as<float>().size(), 3u);
}

}  // namespace
}  // namespace recpile
