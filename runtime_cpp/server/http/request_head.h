// What the service needs to know of a header that Beast has parsed.
#pragma once

#include <boost/beast/http/field.hpp>
#include <string>

#include "http/message.h"
#include "kserve/binary_tail.h"

namespace recpile::http {

// `message`: a boost::beast::http::header of a request.
template <class Message>
RequestHead HeadOf(const Message& message) {
  // Boost's string view changed its type between the versions that we support.
  const auto text = [](auto view) { return std::string(view.data(), view.size()); };
  return {.method = text(message.method_string()),
          .target = text(message.target()),
          .content_encoding = text(message[boost::beast::http::field::content_encoding]),
          .json_length = text(message[kserve::kLengthHeader]),
          .traceparent = text(message["traceparent"])};
}

}  // namespace recpile::http
