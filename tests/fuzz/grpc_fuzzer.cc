// The gRPC decoder on messages from anywhere: protobuf's reading, then raw and typed contents.
#include <cstddef>
#include <cstdint>
#include <memory>

#include "decoded_request.h"
#include "rpc/infer_codec.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace recpile;
  static const ModelInfo model = testing::FuzzedModel();
  const auto message = std::make_shared<inference::ModelInferRequest>();
  if (!message->ParseFromArray(data, static_cast<int>(size))) return 0;
  const auto decoded = rpc::DecodeCall(message, model);
  if (!decoded.ok()) return 0;
  testing::CheckDecoded(decoded.value().request);
  if (decoded.value().request.timeout_microseconds < 0) __builtin_trap();
  for (const auto& output : decoded.value().outputs) {
    if (output.index >= model.outputs.size()) __builtin_trap();
  }
  return 0;
}
