#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "nlohmann/json.hpp"
#include "support.h"

namespace recpile::kserve {
namespace {

using testing::Bytes;
using testing::ToyModel;

class InferEncode : public ::testing::Test {
 protected:
  Tensor Make(const char* name, DType dtype, Shape shape, const std::string& bytes) {
    const auto owner = std::make_shared<std::string>(bytes);
    return {.name = name,
            .dtype = dtype,
            .shape = std::move(shape),
            .data = std::as_bytes(std::span(*owner)),
            .owner = owner};
  }
  std::vector<Tensor> Outputs() {
    return {Make("score", DType::kFp32, {2}, Bytes<float>({0.25f, 0.5f})),
            Make("half", DType::kBf16, {1, 2}, Bytes<uint16_t>({0x3f80, 0x4000}))};
  }
};

TEST_F(InferEncode, AllJson) {
  const auto encoded = EncodeInferResponse(ToyModel(), "7", {{0, false}}, Outputs());
  ASSERT_TRUE(encoded.ok());
  EXPECT_FALSE(encoded.value().json_length);
  EXPECT_EQ(encoded.value().body, R"({"id":"7","model_name":"toy","model_version":"1","outputs":)"
                                  R"([{"name":"score","datatype":"FP32","shape":[2],"data":[0.25,0.5]}]})");
}

TEST_F(InferEncode, CandidatesThatAreLeftOutAreTold) {
  const auto encoded = EncodeInferResponse(ToyModel(), "", {{0, false}}, Outputs(), nullptr, 3);
  ASSERT_TRUE(encoded.ok());
  EXPECT_EQ(nlohmann::json::parse(encoded.value().body)["parameters"]["candidates_left_out"], 3);
}

TEST_F(InferEncode, BinaryOutputsFollowTheJsonInTheOrderAskedFor) {
  const auto encoded = EncodeInferResponse(ToyModel(), "", {{1, true}, {0, true}}, Outputs());
  ASSERT_TRUE(encoded.ok());
  ASSERT_TRUE(encoded.value().json_length);
  const std::string& body = encoded.value().body;
  const auto json = nlohmann::json::parse(body.substr(0, *encoded.value().json_length));
  EXPECT_FALSE(json.contains("id"));
  EXPECT_EQ(json["outputs"][0]["name"], "half");
  EXPECT_EQ(json["outputs"][0]["shape"], (std::vector<int>{1, 2}));
  EXPECT_EQ(json["outputs"][0]["parameters"]["binary_data_size"], 4);
  EXPECT_EQ(json["outputs"][1]["parameters"]["binary_data_size"], 8);
  EXPECT_EQ(body.substr(*encoded.value().json_length), Bytes<uint16_t>({0x3f80, 0x4000}) + Bytes<float>({0.25f, 0.5f}));
}

TEST_F(InferEncode, MixedForms) {
  const auto encoded = EncodeInferResponse(ToyModel(), "", {{0, false}, {1, true}}, Outputs());
  ASSERT_TRUE(encoded.ok());
  EXPECT_EQ(encoded.value().body.substr(*encoded.value().json_length), Bytes<uint16_t>({0x3f80, 0x4000}));
}

TEST_F(InferEncode, AnEmptyBinaryOutputStillHasTheHeader) {
  auto outputs = Outputs();
  outputs[0] = Make("score", DType::kFp32, {0}, "");
  const auto encoded = EncodeInferResponse(ToyModel(), "", {{0, true}}, outputs);
  ASSERT_TRUE(encoded.ok());
  EXPECT_EQ(encoded.value().json_length, encoded.value().body.size());
}

TEST_F(InferEncode, TheClientsIdIsEscaped) {
  const auto encoded = EncodeInferResponse(ToyModel(), "a\"\n\xff", {{0, false}}, Outputs());
  ASSERT_TRUE(encoded.ok());
  EXPECT_EQ(nlohmann::json::parse(encoded.value().body)["id"], "a\"\n\uFFFD");
}

TEST_F(InferEncode, AnswersThatContradictThemselvesAreInternalErrors) {
  auto outputs = Outputs();
  outputs[0].shape = {3};
  const auto wrong_size = EncodeInferResponse(ToyModel(), "", {{0, true}}, outputs);
  ASSERT_FALSE(wrong_size.ok());
  EXPECT_EQ(wrong_size.status().code(), StatusCode::kInternal);
  outputs.pop_back();
  EXPECT_FALSE(EncodeInferResponse(ToyModel(), "", {{0, true}}, outputs).ok());
}

}  // namespace
}  // namespace recpile::kserve
