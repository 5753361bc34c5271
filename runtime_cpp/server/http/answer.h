// Answers as Beast writes them.
#pragma once

#include <boost/beast/http/message.hpp>
#include <boost/beast/http/string_body.hpp>
#include <string>
#include <utility>

#include "http/message.h"
#include "kserve/binary_tail.h"

namespace recpile::http {

// `version`: the request's, 11 or 10: to an HTTP/1.0 client only its own way of saying keep-alive means that.
inline boost::beast::http::response<boost::beast::http::string_body> MessageOf(Response response, unsigned version,
                                                                               bool keep_alive) {
  using boost::beast::http::field;
  boost::beast::http::response<boost::beast::http::string_body> message(
      static_cast<boost::beast::http::status>(response.status), version);
  message.set(field::server, "recpile");
  if (!response.body.empty()) message.set(field::content_type, response.content_type);
  if (!response.allow.empty()) message.set(field::allow, response.allow);
  if (response.retry_after) message.set(field::retry_after, "1");
  if (response.json_length) message.set(kserve::kLengthHeader, std::to_string(*response.json_length));
  message.keep_alive(keep_alive);
  message.body() = std::move(response.body);
  message.prepare_payload();
  return message;
}

}  // namespace recpile::http
