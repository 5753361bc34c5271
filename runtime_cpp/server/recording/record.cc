#include "recording/record.h"

#include <xxhash.h>

#include <cstring>
#include <limits>

#include "kserve/datatypes.h"
#include "kserve/json_text.h"

namespace recpile::recording {
namespace {

using kserve::JsonText;

template <typename T>
JsonText Described(const T& tensor) {
  return {{"name", tensor.name}, {"datatype", kserve::DatatypeName(tensor.dtype)}, {"shape", tensor.shape}};
}

std::string_view Chars(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The runtime is for little-endian machines, as its artifacts are.
template <typename T>
void Append(std::string* text, T number) {
  char bytes[sizeof(number)];
  std::memcpy(bytes, &number, sizeof(number));
  text->append(bytes, sizeof(number));
}

int64_t Micros(auto duration) { return std::chrono::duration_cast<std::chrono::microseconds>(duration).count(); }

}  // namespace

Pending Begin(const ModelInfo& model, const InferRequest& request) {
  Pending pending{.model = model.name,
                  .version = model.version,
                  .arrived = std::chrono::system_clock::now(),
                  .started = std::chrono::steady_clock::now(),
                  .priority = request.priority,
                  .timeout_microseconds = request.timeout_microseconds,
                  .partial_ok = request.partial_ok,
                  .inputs = {},
                  .input_bytes = {}};
  for (const Tensor& input : request.inputs) {
    pending.inputs.push_back({.name = input.name, .dtype = input.dtype, .shape = input.shape});
    pending.input_bytes += Chars(input.data);
  }
  return pending;
}

std::string EncodeRecord(const Pending& pending, const InferResult& answer, std::chrono::nanoseconds elapsed) {
  std::vector<JsonText> inputs, outputs;
  for (const TensorSpec& input : pending.inputs) inputs.push_back(Described(input));
  std::string output_bytes;
  if (answer.ok()) {
    for (const Tensor& output : answer.value()) {
      outputs.push_back(Described(output));
      output_bytes += Chars(output.data);
    }
  }
  const JsonText json = {{"model", pending.model},
                         {"version", pending.version},
                         {"at_us", Micros(pending.arrived.time_since_epoch())},
                         {"elapsed_us", Micros(elapsed)},
                         {"priority", pending.priority},
                         {"timeout_us", pending.timeout_microseconds},
                         {"partial_ok", pending.partial_ok},
                         {"left_out", answer.left_out},
                         {"status", StatusCodeName(answer.status().code())},
                         {"error", answer.status().message()},
                         {"inputs", inputs},
                         {"outputs", outputs}};
  const std::string& text = json.text();

  const size_t size = sizeof(uint32_t) + text.size() + pending.input_bytes.size() + output_bytes.size();
  if (size > std::numeric_limits<uint32_t>::max()) return "";
  std::string record;
  record.reserve(kRecordHeaderBytes + size);
  record.resize(kRecordHeaderBytes);
  Append(&record, static_cast<uint32_t>(text.size()));
  record += text;
  record += pending.input_bytes;
  record += output_bytes;

  std::string header;
  Append(&header, static_cast<uint32_t>(size));
  Append(&header, static_cast<uint64_t>(XXH3_64bits(record.data() + kRecordHeaderBytes, size)));
  record.replace(0, kRecordHeaderBytes, header);
  return record;
}

}  // namespace recpile::recording
