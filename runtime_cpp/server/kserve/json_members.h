// The members of an infer request's JSON, one by one: each as what it must be, or what is wrong with it. `label` is
// what a refusal calls the entry: "input 'x'", "outputs[1]", "the request".
#pragma once

#include <optional>
#include <string>

#include "nlohmann/json.hpp"
#include "recpile/status.h"
#include "recpile/tensor.h"
#include "serving/shared_memory.h"

namespace recpile::kserve {

// The member of an object; null if it has none. Some clients write null for what they leave out.
const nlohmann::json* Find(const nlohmann::json& object, const char* key);

// The name of an input or output.
Result<std::string> NameOf(const nlohmann::json& entry, const std::string& label);

// An entry's `parameters`, empty where absent. They live as long as `entry`.
Result<const nlohmann::json*> ParametersOf(const nlohmann::json& entry, const std::string& label);

Result<bool> BoolParameter(const nlohmann::json& parameters, const char* key, bool fallback, const std::string& label);

Result<DType> DatatypeOf(const nlohmann::json& entry, const std::string& label);

// Of sizes whose product is no larger than can be.
Result<Shape> ShapeOf(const nlohmann::json& entry, const std::string& label);

// Nothing: the tensor is not in shared memory.
Result<std::optional<serving::MemorySlice>> SliceOf(const nlohmann::json& parameters, const std::string& label);

}  // namespace recpile::kserve
