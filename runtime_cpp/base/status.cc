#include "recpile/status.h"

namespace recpile {

std::string_view StatusCodeName(StatusCode code) {
  switch (code) {
    case StatusCode::kOk:
      return "OK";
    case StatusCode::kInvalidArgument:
      return "INVALID_ARGUMENT";
    case StatusCode::kNotFound:
      return "NOT_FOUND";
    case StatusCode::kUnavailable:
      return "UNAVAILABLE";
    case StatusCode::kUnsupported:
      return "UNSUPPORTED";
    case StatusCode::kCanceled:
      return "CANCELLED";
    case StatusCode::kInternal:
      break;
  }
  return "INTERNAL";
}

}  // namespace recpile
