#include "kserve/json_members.h"

#include <cstddef>
#include <cstdint>
#include <utility>

#include "kserve/datatypes.h"
#include "kserve/request_json.h"
#include "kserve/tensor_bytes.h"

namespace recpile::kserve {

using nlohmann::json;

const json* Find(const json& object, const char* key) {
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

Result<std::string> NameOf(const json& entry, const std::string& label) {
  if (!entry.is_object()) return Status::InvalidArgument(label + " must be an object");
  const json* name = Find(entry, "name");
  if (name == nullptr || !name->is_string() || name->get_ref<const std::string&>().empty()) {
    return Status::InvalidArgument(label + " needs a \"name\" (a non-empty string)");
  }
  return name->get<std::string>();
}

Result<const json*> ParametersOf(const json& entry, const std::string& label) {
  static const json kNone = json::object();
  const json* parameters = Find(entry, "parameters");
  if (parameters == nullptr) return &kNone;
  if (!parameters->is_object()) return Status::InvalidArgument(label + ": \"parameters\" must be an object");
  return parameters;
}

Result<bool> BoolParameter(const json& parameters, const char* key, bool fallback, const std::string& label) {
  const json* value = Find(parameters, key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) {
    return Status::InvalidArgument(label + ": parameter \"" + key + "\" must be true or false");
  }
  return value->get<bool>();
}

Result<DType> DatatypeOf(const json& entry, const std::string& label) {
  const json* value = Find(entry, "datatype");
  if (value == nullptr || !value->is_string()) {
    return Status::InvalidArgument(label + " needs a \"datatype\" (one of " + KnownDatatypes() + ")");
  }
  const auto& name = value->get_ref<const std::string&>();
  const std::optional<DType> dtype = DatatypeFromName(name);
  if (dtype) return *dtype;
  return Status::InvalidArgument(label + ": datatype \"" + Excerpt(name) + "\" is not supported; it may be one of " +
                                 KnownDatatypes());
}

Result<Shape> ShapeOf(const json& entry, const std::string& label) {
  const json* dims = Find(entry, "shape");
  if (dims == nullptr || !dims->is_array()) {
    return Status::InvalidArgument(label + " needs a \"shape\" (an array of integers)");
  }
  if (dims->size() > kMaxRank) {
    return Status::InvalidArgument(label + ": shape has " + std::to_string(dims->size()) + " dimensions; at most " +
                                   std::to_string(kMaxRank) + " are allowed");
  }
  Shape shape;
  for (const json& dim : *dims) {
    // The parser stores every non-negative integer as unsigned.
    if (!dim.is_number_unsigned() || !std::in_range<int64_t>(dim.get<uint64_t>())) {
      return Status::InvalidArgument(label + ": shape[" + std::to_string(shape.size()) + "] is " +
                                     Excerpt(dim.dump(-1, ' ', false, json::error_handler_t::replace)) +
                                     "; a dimension is an integer of at least 0");
    }
    shape.push_back(static_cast<int64_t>(dim.get<uint64_t>()));
  }
  RECPILE_RETURN_IF_ERROR(CheckShape(shape, label));
  return shape;
}

Result<std::optional<serving::MemorySlice>> SliceOf(const json& parameters, const std::string& label) {
  const json* region = Find(parameters, "shared_memory_region");
  if (region == nullptr) return std::optional<serving::MemorySlice>();
  const json* size = Find(parameters, "shared_memory_byte_size");
  const json* offset = Find(parameters, "shared_memory_offset");
  const bool valid = region->is_string() && size != nullptr && size->is_number_unsigned() &&
                     (offset == nullptr || offset->is_number_unsigned());
  if (!valid) {
    return Status::InvalidArgument(label +
                                   ": parameter \"shared_memory_region\" must be a string, "
                                   "\"shared_memory_byte_size\" and, if given, \"shared_memory_offset\" integers of "
                                   "at least 0");
  }
  return std::optional<serving::MemorySlice>({.region = region->get<std::string>(),
                                              .offset = offset == nullptr ? 0 : offset->get<uint64_t>(),
                                              .byte_size = size->get<uint64_t>()});
}

}  // namespace recpile::kserve
