// Requests that nobody well-meaning sends: each gets an error, none an allocation or a read beyond its bytes.
#include <gtest/gtest.h>

#include <random>
#include <string>

#include "support.h"

namespace recpile::kserve {
namespace {

using testing::Bytes;
using testing::MakeBody;
using testing::OneInput;
using testing::Refusal;
using testing::ToyModel;

std::string RefusalWithLength(std::string_view text, size_t json_length) {
  RequestBody body = MakeBody(text);
  body.json_length = json_length;
  const auto decoded = DecodeInferRequest(body, ToyModel());
  return decoded.ok() ? "" : decoded.status().message();
}

TEST(InferCodec, BlobLongerThanBodyIsRefused) {
  EXPECT_EQ(Refusal(OneInput(R"("datatype":"FP32","shape":[4],"parameters":{"binary_data_size":16})"), "12345678"),
            "input 'x': binary_data_size is 16, but only 8 bytes of the body are left");
  EXPECT_EQ(Refusal(OneInput(R"("datatype":"UINT8","shape":[1099511627776],)"
                             R"("parameters":{"binary_data_size":1099511627776})"),
                    "1"),
            "input 'x': binary_data_size is 1099511627776, but only 1 bytes of the body are left");
}

TEST(InferCodec, BlobThatDoesNotSuitItsShapeIsRefused) {
  EXPECT_EQ(Refusal(OneInput(R"("datatype":"FP32","shape":[2],"parameters":{"binary_data_size":4})"), "1234"),
            "input 'x': binary_data_size is 4, but FP32 of shape [2] takes 8 bytes");
}

TEST(InferCodec, TrailingBytesAreRefused) {
  EXPECT_NE(Refusal(OneInput(R"("datatype":"FP32","shape":[1],"parameters":{"binary_data_size":4})"), "12345")
                .find("1 bytes of the body follow the last binary tensor"),
            std::string::npos);
  EXPECT_NE(Refusal(OneInput(R"("datatype":"FP32","shape":[1],"data":[1])"), "12345").find("5 bytes"),
            std::string::npos);
}

TEST(InferCodec, BlobWithoutTheLengthHeaderIsRefused) {
  EXPECT_EQ(Refusal(OneInput(R"("datatype":"FP32","shape":[0],"parameters":{"binary_data_size":0})")),
            "input 'x' is binary, but the request has no header Inference-Header-Content-Length (the length of the "
            "JSON part, in bytes)");
}

TEST(InferCodec, LengthHeaderBeyondTheBodyIsRefused) {
  EXPECT_EQ(RefusalWithLength("{}", 3), "Inference-Header-Content-Length is 3, but the body has only 2 bytes");
  EXPECT_NE(RefusalWithLength("{}", static_cast<size_t>(-1)), "");
  EXPECT_NE(RefusalWithLength("{}", 0).find("raw binary requests"), std::string::npos);
  EXPECT_NE(RefusalWithLength("", 0).find("no body"), std::string::npos);
  EXPECT_NE(RefusalWithLength("{}", 1).find("not valid JSON"), std::string::npos);
}

TEST(InferCodec, BinarySizesThatAreNoSizesAreRefused) {
  for (const char* size : {"-1", "4.0", "\"4\"", "true", "null", "[4]", "1e400"}) {
    EXPECT_NE(Refusal(OneInput(R"("datatype":"FP32","shape":[1],"parameters":{"binary_data_size":)" +
                               std::string(size) + "}"),
                      "1234"),
              "")
        << size;
  }
}

TEST(InferCodec, ShapesThatAreNoShapesAreRefused) {
  EXPECT_EQ(Refusal(OneInput(R"("datatype":"FP32","shape":[2,-1],"data":[])")),
            "input 'x': shape[1] is -1; a dimension is an integer of at least 0");
  for (const char* shape :
       {"[1.0]", "[\"1\"]", "[null]", "[18446744073709551615]", "[[1]]", "{}", "1", "null", "[1,1,1,1,1,1,1,1,1]"}) {
    EXPECT_NE(Refusal(OneInput(R"("datatype":"FP32","data":[1],"shape":)" + std::string(shape))), "") << shape;
  }
  EXPECT_NE(Refusal(OneInput(R"("datatype":"FP32","data":[1])")).find("needs a \"shape\""), std::string::npos);
}

TEST(InferCodec, ShapeProductsThatOverflowAreRefused) {
  EXPECT_EQ(Refusal(OneInput(R"("datatype":"FP32","shape":[4294967296,4294967296],"data":[])")),
            "input 'x': shape [4294967296, 4294967296] has more elements than memory");
  EXPECT_NE(Refusal(OneInput(R"("datatype":"INT64","shape":[2305843009213693952],)"
                             R"("parameters":{"binary_data_size":0})"),
                    "1"),
            "");
}

TEST(InferCodec, AHugeShapeWithLittleDataAllocatesNothing) {
  EXPECT_EQ(Refusal(OneInput(R"("datatype":"UINT8","shape":[1099511627776],"data":[1])")),
            "input 'x': data has 1 values, but shape [1099511627776] needs 1099511627776");
}

TEST(InferCodec, DuplicatesAreRefused) {
  const std::string x = R"({"name":"x","datatype":"FP32","shape":[1],"data":[1]})";
  EXPECT_EQ(Refusal(R"({"inputs":[)" + x + "," + x + R"(],"outputs":[{"name":"score"}]})"), "input 'x' is given twice");
  EXPECT_EQ(Refusal(R"({"inputs":[)" + x + R"(],"outputs":[{"name":"score"},{"name":"score"}]})"),
            "output 'score' is asked for twice");
}

TEST(InferCodec, DataMustComeInExactlyOneForm) {
  EXPECT_NE(Refusal(OneInput(R"("datatype":"FP32","shape":[1],"data":[1],"parameters":{"binary_data_size":4})"), "1234")
                .find("send one"),
            std::string::npos);
  EXPECT_NE(Refusal(OneInput(R"("datatype":"FP32","shape":[1])")).find("has neither"), std::string::npos);
  EXPECT_NE(Refusal(OneInput(R"("datatype":"FP32","shape":[1],"data":1)")).find("must be an array"), std::string::npos);
  EXPECT_NE(Refusal(OneInput(R"("datatype":"FP32","shape":[1],"data":{"a":[1]})")).find("must be an array"),
            std::string::npos);
}

TEST(InferCodec, BytesThatAreNoBoolsAreRefused) {
  EXPECT_EQ(Refusal(OneInput(R"("datatype":"BOOL","shape":[3],"parameters":{"binary_data_size":3})"),
                    Bytes<uint8_t>({0, 1, 7})),
            "input 'x': byte 2 is 7; a BOOL is 0 or 1");
}

TEST(InferCodec, UnknownDatatypesAreRefusedWithTheKnownOnes) {
  EXPECT_EQ(Refusal(OneInput(R"("datatype":"BYTES","shape":[1],"data":[])")),
            "input 'x': datatype \"BYTES\" is not supported; it may be one of BOOL, UINT8, INT8, INT32, INT64, FP16, "
            "BF16, FP32, FP64");
  EXPECT_NE(Refusal(OneInput(R"("datatype":1,"shape":[1],"data":[1])")), "");
}

TEST(InferCodec, WrongStructureIsRefused) {
  for (const char* text : {"[]",
                           "1",
                           "null",
                           "\"x\"",
                           "{}",
                           R"({"inputs":{}})",
                           R"({"inputs":[]})",
                           R"({"inputs":[1]})",
                           R"({"inputs":[[]]})",
                           R"({"inputs":[{}]})",
                           R"({"inputs":[{"name":""}]})",
                           R"({"inputs":[{"name":1}]})",
                           R"({"inputs":[{"name":"x","parameters":1}]})",
                           R"({"id":1,"inputs":[]})",
                           R"({"outputs":{},"inputs":[]})",
                           R"({"outputs":[1],"inputs":[]})",
                           R"({"outputs":[{}],"inputs":[]})",
                           R"({"parameters":[],"inputs":[]})",
                           R"({"parameters":{"binary_data_output":1}})",
                           R"({"outputs":[{"name":"score","parameters":{"binary_data":"yes"}}]})"}) {
    EXPECT_NE(Refusal(text), "") << text;
  }
}

TEST(InferCodec, ALongNameIsQuotedInPart) {
  const std::string name(1'000'000, 'n');
  EXPECT_LT(Refusal(R"({"inputs":[{"name":")" + name + R"("}],"outputs":[{"name":"score"}]})").size(), 300u);
  EXPECT_LT(Refusal(R"({"inputs":[],"outputs":[{"name":")" + name + R"("}]})").size(), 300u);
}

// Under a sanitizer this is where a wrong bound shows.
TEST(InferCodec, SurvivesDamagedRequests) {
  const std::string json =
      R"({"id":"1","inputs":[{"name":"dense","datatype":"FP32","shape":[2,2],"parameters":{"binary_data_size":16}},)"
      R"({"name":"ids","datatype":"INT64","shape":[2,1],"data":[[1],[2]]},)"
      R"({"name":"b","datatype":"BOOL","shape":[1],"parameters":{"binary_data_size":1}}],)"
      R"("outputs":[{"name":"score","parameters":{"binary_data":true}}],"parameters":{"binary_data_output":false}})";
  const std::string intact = json + Bytes<float>({1, 2, 3, 4}) + "\1";
  std::mt19937 random(1);
  const auto pick = [&random](size_t end) { return std::uniform_int_distribution<size_t>(0, end - 1)(random); };
  const std::string alphabet = "[]{}\",:0123456789.-eE \\tf";
  int accepted = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string text = intact;
    for (size_t edits = 1 + pick(4); edits > 0; --edits) {
      const size_t at = pick(text.size());
      switch (pick(4)) {
        case 0:
          text[at] = alphabet[pick(alphabet.size())];
          break;
        case 1:
          text.erase(at, 1 + pick(8));
          break;
        case 2:
          text.insert(at, text.substr(pick(text.size()), pick(16)));
          break;
        default:
          text[at] = static_cast<char>(pick(256));
          break;
      }
    }
    RequestBody body = MakeBody(text, {}, pick(8));
    body.json_length = pick(10) == 0 ? pick(text.size() + 8) : json.size() + text.size() - intact.size();
    const auto decoded = DecodeInferRequest(body, ToyModel());
    if (!decoded.ok()) continue;
    ++accepted;
    for (const Tensor& tensor : decoded.value().request.inputs) {
      std::string copy(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size());
      EXPECT_EQ(copy.size(), tensor.data.size());
    }
  }
  EXPECT_GT(accepted, 0);
}

}  // namespace
}  // namespace recpile::kserve
