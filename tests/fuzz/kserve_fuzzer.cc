// The KServe decoder on bodies from anywhere: JSON, and the binary tensors behind it.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>

#include "decoded_request.h"
#include "kserve/infer_codec.h"

// The first two bytes say how long the JSON is; 0xffff: there is nothing but JSON.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace recpile;
  static const ModelInfo model = testing::FuzzedModel();
  if (size < 2) return 0;
  const size_t json = data[0] | data[1] << 8;
  const size_t bytes = size - 2;
  // A copy of its own, exactly as long, so that a sanitizer sees a read beyond it.
  std::shared_ptr<std::byte[]> memory(new std::byte[bytes]);
  std::memcpy(memory.get(), data + 2, bytes);
  kserve::RequestBody body{.bytes = {memory.get(), bytes}, .owner = memory};
  if (json != 0xffff) body.json_length = json;
  const auto decoded = kserve::DecodeInferRequest(body, model);
  if (!decoded.ok()) return 0;
  testing::CheckDecoded(decoded.value().request);
  for (const auto& output : decoded.value().outputs) {
    if (output.index >= model.outputs.size()) __builtin_trap();
  }
  return 0;
}
