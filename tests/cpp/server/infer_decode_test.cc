// What well-meant requests decode to, and what is said to slightly wrong ones.
#include <gtest/gtest.h>

#include <string>

#include "support.h"

namespace recpile::kserve {
namespace {

using testing::Bytes;
using testing::Decode;
using testing::MakeBody;
using testing::OneInput;
using testing::Refusal;
using testing::ToyModel;
using testing::Values;

constexpr char kBinaryDense[] =
    R"({"inputs":[{"name":"dense","datatype":"FP32","shape":[1,4],"parameters":{"binary_data_size":16}}],)"
    R"("parameters":{"binary_data_output":true}})";

TEST(InferCodec, DecodesJsonInputsFlatAndNested) {
  const auto decoded = Decode(R"({"id":"7","inputs":[
      {"name":"dense","datatype":"FP32","shape":[2,2],"data":[[1,2],[3,4]]},
      {"data":[5,6],"shape":[2],"datatype":"INT64","name":"ids.values"}],"outputs":[{"name":"score"}]})");
  ASSERT_TRUE(decoded.ok()) << decoded.status().message();
  EXPECT_EQ(decoded.value().id, "7");
  const auto& inputs = decoded.value().request.inputs;
  ASSERT_EQ(inputs.size(), 2u);
  EXPECT_EQ(inputs[0].name, "dense");
  EXPECT_EQ(inputs[0].shape, (Shape{2, 2}));
  EXPECT_EQ(Values<float>(inputs[0]), (std::vector<float>{1, 2, 3, 4}));
  EXPECT_EQ(inputs[1].dtype, DType::kInt64);
  EXPECT_EQ(Values<int64_t>(inputs[1]), (std::vector<int64_t>{5, 6}));
}

TEST(InferCodec, PriorityAndTimeoutAreThoseOfTheRequest) {
  const auto with = [](const std::string& parameters) {
    return Decode(
        R"({"inputs":[{"name":"dense","datatype":"FP32","shape":[1,1],"data":[1]}],"outputs":[{"name":"score"}],
                       "parameters":)" +
        parameters + "}");
  };
  const auto both = with(R"({"priority":2,"timeout":5000})");
  ASSERT_TRUE(both.ok()) << both.status().message();
  EXPECT_EQ(both.value().request.priority, 2u);
  EXPECT_EQ(both.value().request.timeout_microseconds, 5000);
  const auto none = with(R"({"priority":null})");
  EXPECT_EQ(none.value().request.priority, 0u);
  EXPECT_EQ(none.value().request.timeout_microseconds, 0);
  EXPECT_GT(with(R"({"timeout":18446744073709551615})").value().request.timeout_microseconds, 0);
  EXPECT_EQ(with(R"({"timeout":-1})").status().message(),
            "the request: parameter \"timeout\" must be an integer of at least 0");
  EXPECT_EQ(with(R"({"priority":"1"})").status().message(),
            "the request: parameter \"priority\" must be an integer of at least 0");
}

TEST(InferCodec, ABinaryInputIsAViewThatKeepsTheBodyAlive) {
  RequestBody body = MakeBody(kBinaryDense, Bytes<float>({1, 2, 3, 4}));
  const std::byte* const blob = body.bytes.data() + *body.json_length;
  const std::weak_ptr<const void> alive = body.owner;
  auto decoded = DecodeInferRequest(body, ToyModel());
  ASSERT_TRUE(decoded.ok()) << decoded.status().message();
  body = {};
  EXPECT_FALSE(alive.expired());
  const Tensor tensor = decoded.value().request.inputs[0];
  EXPECT_EQ(tensor.data.data(), blob);
  EXPECT_EQ(Values<float>(tensor), (std::vector<float>{1, 2, 3, 4}));
  decoded = Status::Internal("gone");
  EXPECT_FALSE(alive.expired());
}

TEST(InferCodec, AMisalignedBlobIsCopiedToAnAlignedPlace) {
  for (size_t shift = 1; shift < 8; ++shift) {
    const RequestBody body = MakeBody(kBinaryDense, Bytes<float>({1, 2, 3, 4}), shift);
    const auto decoded = DecodeInferRequest(body, ToyModel());
    ASSERT_TRUE(decoded.ok()) << decoded.status().message();
    const Tensor& tensor = decoded.value().request.inputs[0];
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.data.data()) % alignof(float), 0u);
    EXPECT_EQ(Values<float>(tensor), (std::vector<float>{1, 2, 3, 4}));
    const bool view = tensor.data.data() == body.bytes.data() + *body.json_length;
    EXPECT_EQ(view, shift % alignof(float) == 0) << shift;
  }
}

TEST(InferCodec, BlobsFollowTheOrderOfTheirInputs) {
  const auto decoded = Decode(R"({"outputs":[{"name":"score"}],"inputs":[
      {"name":"flag","datatype":"BOOL","shape":[3],"parameters":{"binary_data_size":3}},
      {"name":"json","datatype":"INT32","shape":[1],"data":[9]},
      {"name":"empty","datatype":"INT64","shape":[0],"parameters":{"binary_data_size":0}},
      {"name":"ids","datatype":"INT64","shape":[2],"parameters":{"binary_data_size":16}}]})",
                              Bytes<uint8_t>({1, 0, 1}) + Bytes<int64_t>({-5, 6}));
  ASSERT_TRUE(decoded.ok()) << decoded.status().message();
  const auto& inputs = decoded.value().request.inputs;
  EXPECT_EQ(Values<uint8_t>(inputs[0]), (std::vector<uint8_t>{1, 0, 1}));
  EXPECT_EQ(Values<int32_t>(inputs[1]), std::vector<int32_t>{9});
  EXPECT_TRUE(inputs[2].data.empty());
  EXPECT_EQ(Values<int64_t>(inputs[3]), (std::vector<int64_t>{-5, 6}));
  EXPECT_EQ(reinterpret_cast<uintptr_t>(inputs[3].data.data()) % alignof(int64_t), 0u);
}

TEST(InferCodec, SixteenBitFloatsTravelInBinaryForm) {
  for (const char* datatype : {"FP16", "BF16"}) {
    const auto decoded = Decode(
        OneInput(std::string(R"("datatype":")") + datatype + R"(","shape":[2],"parameters":{"binary_data_size":4})"),
        Bytes<uint16_t>({1, 2}));
    EXPECT_TRUE(decoded.ok()) << decoded.status().message();
  }
  EXPECT_NE(Refusal(OneInput(R"("datatype":"FP16","shape":[1],"data":[1])")).find("no JSON form"), std::string::npos);
}

TEST(InferCodec, AsksForAllOutputsByDefault) {
  const auto decoded = Decode(kBinaryDense, Bytes<float>({1, 2, 3, 4}));
  ASSERT_TRUE(decoded.ok()) << decoded.status().message();
  ASSERT_EQ(decoded.value().outputs.size(), 2u);
  EXPECT_EQ(decoded.value().outputs[1].index, 1u);
  EXPECT_TRUE(decoded.value().outputs[1].binary);
}

TEST(InferCodec, AnOutputsOwnChoiceOverridesTheRequests) {
  const std::string input = R"({"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1]}],)";
  const auto decoded = Decode(input + R"("parameters":{"binary_data_output":true},)" +
                              R"("outputs":[{"name":"half"},{"name":"score","parameters":{"binary_data":false}}]})");
  ASSERT_TRUE(decoded.ok()) << decoded.status().message();
  ASSERT_EQ(decoded.value().outputs.size(), 2u);
  EXPECT_EQ(decoded.value().outputs[0].index, 1u);
  EXPECT_TRUE(decoded.value().outputs[0].binary);
  EXPECT_FALSE(decoded.value().outputs[1].binary);
}

TEST(InferCodec, AnOutputWithoutJsonFormMustBeAskedForInBinary) {
  EXPECT_EQ(Refusal(R"({"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1]}]})"),
            R"(output 'half' is BF16, which has no JSON form; ask for it with parameter "binary_data": true)");
}

TEST(InferCodec, AnUnknownOutputIsRefusedWithTheKnownOnes) {
  EXPECT_EQ(Refusal(R"({"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1]}],"outputs":[{"name":"y"}]})"),
            "model 'toy' has no output 'y'; it has 'score', 'half'");
}

TEST(InferCodec, UnknownParametersAreIgnored) {
  EXPECT_EQ(Refusal(R"({"parameters":{"priority":1,"timeout":5,"x":{"y":[1]}},"extra":[1,{"a":null}],
      "inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1],"parameters":{"z":1}}],
      "outputs":[{"name":"score","parameters":{"q":"r"}}]})"),
            "");
}

TEST(InferCodec, NullStandsForWhatIsLeftOut) {
  EXPECT_EQ(Refusal(R"({"id":null,"parameters":null,"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1],
      "parameters":null}],"outputs":[{"name":"score","parameters":{"binary_data":null}}]})"),
            "");
}

TEST(InferCodec, ClassificationIsUnsupportedAndSharedMemoryOff) {
  const auto input = Decode(OneInput(
      R"("datatype":"FP32","shape":[1],"parameters":{"shared_memory_region":"r","shared_memory_byte_size":4})"));
  ASSERT_FALSE(input.ok());
  EXPECT_EQ(input.status().code(), StatusCode::kUnsupported);
  EXPECT_EQ(input.status().message(),
            "shared memory is off; send tensors in the request, or start the server with --shared-memory");
  for (const char* parameter : {R"("shared_memory_region":"r","shared_memory_byte_size":4)", R"("classification":3)"}) {
    const auto output =
        Decode(R"({"inputs":[],"outputs":[{"name":"score","parameters":{)" + std::string(parameter) + "}}]}");
    ASSERT_FALSE(output.ok());
    EXPECT_EQ(output.status().code(), StatusCode::kUnsupported);
  }
}

}  // namespace
}  // namespace recpile::kserve
