// The names that KServe v2 and Triton's model config give to our data types.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "recpile/tensor.h"

namespace recpile::kserve {

// "FP32", "INT64", "BOOL", ...
std::string_view DatatypeName(DType dtype);
std::optional<DType> DatatypeFromName(std::string_view name);
// "BOOL, UINT8, ...": for error messages.
std::string KnownDatatypes();

// "TYPE_FP32": the spelling of Triton's model config.
std::string ConfigTypeName(DType dtype);

// Whether JSON can carry the type's values. As in Triton, the 16-bit floats travel only in binary form.
bool HasJsonForm(DType dtype);

}  // namespace recpile::kserve
