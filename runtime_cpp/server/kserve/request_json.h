// The JSON of an infer request, taken apart in one pass: a small tree, and beside it every input's numbers, packed.
//
// A tree node costs some 40 bytes a number, so a hostile body of 64 MiB would become gigabytes; packed it costs 9 bytes
// a number. The tree holds everything but `inputs[i].data`, and its size and depth are bounded.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "nlohmann/json.hpp"
#include "recpile/status.h"
#include "recpile/tensor.h"

namespace recpile::kserve {

// What `data` held, in row-major order.
struct PackedData {
  enum class Kind : uint8_t { kBool, kNegative, kUnsigned, kFloat };

  // Per value: its kind, and the bits of a bool, int64_t, uint64_t or double.
  std::vector<Kind> kinds;
  std::vector<uint64_t> bits;
  // How `data` was nested: [n] when flat, [2, 3] for two rows of three.
  Shape nesting;
};

struct RequestJson {
  RequestJson() = default;
  RequestJson(RequestJson&&) noexcept = default;
  // From the leaves up, for which it takes no memory: nlohmann's destructor asks for some to take a tree apart, and
  // where there is none the process ends.
  ~RequestJson();

  nlohmann::json tree;
  // By the index of the input that has `data`. In the tree that key's value is null.
  std::unordered_map<size_t, PackedData> data;
};

// Refuses malformed JSON, a repeated key, too deep or too large a tree, and `data` that is ragged or holds other things
// than numbers and booleans.
Result<RequestJson> ParseRequestJson(std::string_view text);

// The beginning of what a client sent, for error messages.
std::string Excerpt(std::string_view text, size_t limit = 128);

}  // namespace recpile::kserve
