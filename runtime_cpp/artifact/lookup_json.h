// What an embedding stage looks up, read from the manifest. Internal to artifact/.
#pragma once

#include <vector>

#include "artifact/manifest_json.h"

namespace recpile {

// Reads pooling, sources and features into `stage`. Throws Malformed.
void ReadLookup(const Json& json, const ValueNames& values, const std::vector<Table>& tables, StageSpec& stage);

// Refuses a lookup that would read an input as what it is not, or past what it has. What stages compute is checked when
// it is there (execute/gather_bags.cc). Throws Malformed.
void CheckLookup(const Manifest& manifest, const StageSpec& stage);

}  // namespace recpile
