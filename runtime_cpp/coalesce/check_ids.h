// The ids of a request against the tables that they are looked up in.
#pragma once

#include "coalesce/segments.h"

namespace recpile {

// Ids that go from the client straight into a lookup are checked here, so that a bad one fails its own request alone;
// those that a stage computes, the lookup checks. InvalidArgument names the first bad one, or, if the policy so says,
// `request` is marked.
Status CheckIds(const Manifest& manifest, const IdPolicy& policy, CheckedRequest& request);

}  // namespace recpile
