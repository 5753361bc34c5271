// HTTP's number for what went wrong.
#pragma once

#include "recpile/status.h"

namespace recpile::http {

inline int HttpStatus(StatusCode code) {
  switch (code) {
    case StatusCode::kOk:
      return 200;
    case StatusCode::kInvalidArgument:
      return 400;
    case StatusCode::kNotFound:
      return 404;
    case StatusCode::kUnavailable:
      return 503;
    case StatusCode::kUnsupported:
      return 501;
    case StatusCode::kCanceled:
      return 499;  // nobody reads it; the number is what other servers log
    case StatusCode::kInternal:
      return 500;
  }
  return 500;
}

}  // namespace recpile::http
