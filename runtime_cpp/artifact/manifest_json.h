// What the readers of the manifest's JSON share. Internal to artifact/.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>

#include "artifact/manifest.h"

namespace recpile {

using Json = nlohmann::json;

// Thrown inside artifact/ only; ParseManifest turns it into a Status.
struct Malformed : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void Require(bool condition, const std::string& message) {
  if (!condition) throw Malformed(message);
}

inline constexpr int64_t kMaxSize = int64_t{1} << 48;
inline constexpr int64_t kMaxRowElements = int64_t{1} << 28;

inline int64_t Size(const Json& value, const std::string& what) {
  Require(value.is_number_integer(), what + " must be a whole number");
  const auto size = value.get<int64_t>();
  Require(size >= 0 && size <= kMaxSize, what + " is " + std::to_string(size) + ", out of range");
  return size;
}

// Elements of one row: all axes but the first. 0 if one of them is empty or varies, or if there are far too many.
inline int64_t RowElements(const Shape& shape) {
  int64_t elements = 1;
  for (size_t i = 1; i < shape.size(); ++i) {
    if (shape[i] <= 0 || elements > kMaxRowElements / shape[i]) return 0;
    elements *= shape[i];
  }
  return elements;
}

// Names of values, each given once.
class ValueNames {
 public:
  ValueId Add(const std::string& name) {
    Require(name != kCandidateToRequest, "value '" + name + "' is given by the runtime; use another name");
    return Insert(name);
  }

  ValueId Find(const std::string& name, const std::string& reader) const {
    Require(name != kCandidateToRequest, reader + " reads '" + name + "', which is for compiled stages only");
    const auto found = ids_.find(name);
    Require(found != ids_.end(), reader + " reads value '" + name + "', which nothing before it gives");
    return found->second;
  }

  // The runtime's own value gets its number when the first stage reads it.
  ValueId AddOrFindCandidateToRequest() {
    if (!candidate_to_request_) candidate_to_request_ = Insert(std::string(kCandidateToRequest));
    return *candidate_to_request_;
  }

  // Nothing if no stage reads it.
  std::optional<ValueId> candidate_to_request() const { return candidate_to_request_; }
  int32_t count() const { return static_cast<int32_t>(ids_.size()); }

 private:
  ValueId Insert(const std::string& name) {
    const auto id = static_cast<ValueId>(ids_.size());
    Require(ids_.emplace(name, id).second, "value '" + name + "' is given twice");
    return id;
  }

  std::unordered_map<std::string, ValueId> ids_;
  std::optional<ValueId> candidate_to_request_;
};

}  // namespace recpile
