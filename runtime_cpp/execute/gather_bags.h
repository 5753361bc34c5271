// The bags of a lookup, from the values they come from into the one order that kernels take: feature by feature.
#pragma once

#include <span>

#include "artifact/manifest.h"
#include "execute/stage.h"

namespace recpile {

// Ids and offsets of all features, one behind the other: feature f's bag n is ids [offsets[f * bags + n],
// offsets[f * bags + n + 1]). Views of the scratch and of the values.
struct Bags {
  at::Tensor ids;      // int64
  at::Tensor offsets;  // int64 [features * bags + 1]
  at::Tensor weights;  // fp32, as many as ids; undefined if unweighted
  int64_t bags = 0;
};

// Whether the one source has its ids in that order already: GatherStraight then copies none. Only for lookups of
// inputs, which have been checked.
bool IsStraight(const Manifest& manifest, const StageSpec& spec);

Bags GatherStraight(const StageSpec& spec, const RunState& state, Scratch& scratch);

// Of `features`, which are those of the spec in any order. Leaves the running totals of source s's lengths in
// scratch.source_ends[s] (nothing for a fixed one). Throws if lengths, values and weights do not fit each other, which
// values that a stage computed need not do.
Bags Gather(const StageSpec& spec, std::span<const LookupFeature> features, const RunState& state, Scratch& scratch);

}  // namespace recpile
