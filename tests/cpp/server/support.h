// A small model, and requests for it.
#pragma once

#include <cstring>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kserve/aligned_buffer.h"
#include "kserve/infer_codec.h"
#include "recpile/engine.h"

namespace recpile::testing {

inline ModelInfo ToyModel() {
  return {.name = "toy",
          .version = "1",
          .inputs = {{"dense", DType::kFp32, {-1, 4}}, {"ids.values", DType::kInt64, {-1}}},
          .outputs = {{"score", DType::kFp32, {-1}}, {"half", DType::kBf16, {-1, 2}}}};
}

template <typename T>
std::string Bytes(std::initializer_list<T> values) {
  return std::string(reinterpret_cast<const char*>(values.begin()), values.size() * sizeof(T));
}

template <typename T>
std::vector<T> Values(const Tensor& tensor) {
  std::vector<T> values(tensor.data.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), tensor.data.data(), tensor.data.size());
  return values;
}

// Lays a body out as the server does: the first binary tensor on an aligned address. `shift` moves it off by that many
// bytes. The bytes fill their allocation to its end, so that a sanitizer sees a read beyond them.
inline kserve::RequestBody MakeBody(std::string_view json, std::string_view tail = {}, size_t shift = 0) {
  constexpr size_t kAlignment = kserve::AlignedBuffer::kAlignment;
  const size_t padding = (kAlignment - json.size() % kAlignment) % kAlignment + shift;
  auto buffer = std::make_shared<kserve::AlignedBuffer>();
  buffer->Reserve(padding + json.size() + tail.size());
  buffer->Append(std::string(padding, '\0').data(), padding);
  buffer->Append(json.data(), json.size());
  buffer->Append(tail.data(), tail.size());
  kserve::RequestBody body{.bytes = buffer->span().subspan(padding), .owner = buffer};
  if (!tail.empty()) body.json_length = json.size();
  return body;
}

// One input named x with the given members, as in R"("datatype":"FP32","shape":[1],"data":[1])", and score asked for.
inline std::string OneInput(std::string_view members) {
  return R"({"inputs":[{"name":"x",)" + std::string(members) + R"(}],"outputs":[{"name":"score"}]})";
}

inline Result<kserve::DecodedRequest> Decode(std::string_view json, std::string_view tail = {}) {
  return kserve::DecodeInferRequest(MakeBody(json, tail), ToyModel());
}

// The message with which a request is refused; empty if it is accepted.
inline std::string Refusal(std::string_view json, std::string_view tail = {}) {
  const auto decoded = Decode(json, tail);
  return decoded.ok() ? "" : decoded.status().message();
}

}  // namespace recpile::testing
