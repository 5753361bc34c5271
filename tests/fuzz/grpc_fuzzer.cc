// The gRPC decoder on messages from anywhere: what is looked for before a message is parsed, protobuf's reading, then
// raw and typed contents.
#include <google/protobuf/stubs/logging.h>
#include <grpcpp/support/byte_buffer.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "decoded_request.h"
#include "rpc/infer_codec.h"
#include "rpc/infer_message.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace recpile;
  static const ModelInfo model = testing::FuzzedModel();
  // Else it writes a line for each text that is no UTF-8.
  static const auto quiet = google::protobuf::SetLogHandler(nullptr);
  (void)quiet;
  // In two slices, as it may come.
  const grpc::Slice slices[] = {grpc::Slice(data, size / 2), grpc::Slice(data + size / 2, size - size / 2)};
  grpc::ByteBuffer bytes(slices, 2);
  (void)rpc::TargetOf(bytes);
  const auto before_tensors = rpc::ParseWithoutTensors(bytes);
  const auto message = rpc::Parse(bytes);
  if (!message.ok()) return 0;
  // What can be parsed as a whole can be parsed as far as its tensors.
  if (before_tensors == nullptr) __builtin_trap();
  const auto decoded = rpc::DecodeCall(message.value(), model);
  if (!decoded.ok()) return 0;
  testing::CheckDecoded(decoded.value().request);
  if (decoded.value().request.timeout_microseconds < 0) __builtin_trap();
  for (const auto& output : decoded.value().outputs) {
    if (output.index >= model.outputs.size()) __builtin_trap();
  }
  return 0;
}
