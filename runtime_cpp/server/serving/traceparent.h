// The W3C trace context that a client sent along.
#pragma once

#include <string>
#include <string_view>

namespace recpile::serving {

// The header if it is a valid traceparent ("00-" trace id "-" parent id "-" flags, in small hex digits, no id all
// zero), else nothing: a broken one is as good as none, and never an error.
std::string_view ValidTraceparent(std::string_view header);

}  // namespace recpile::serving
