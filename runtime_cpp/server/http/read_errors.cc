#include "http/read_errors.h"

#include <boost/beast/http/error.hpp>
#include <string>

#include "http/service.h"

namespace recpile::http {

std::optional<Response> AnswerToReadError(boost::beast::error_code error, uint64_t max_request_bytes) {
  namespace bhttp = boost::beast::http;
  if (error == bhttp::error::body_limit) {
    return ErrorResponse(413, "the body is larger than the server's limit of " + std::to_string(max_request_bytes) +
                                  " bytes (--max-request-bytes)");
  }
  if (error == bhttp::error::header_limit) {
    return ErrorResponse(431, "the header is larger than " + std::to_string(kMaxHeaderBytes) + " bytes");
  }
  if (error == boost::system::errc::not_enough_memory) {
    return ErrorResponse(503, "out of memory while reading the request; retry later");
  }
  const bool gone = error == bhttp::error::end_of_stream || error == bhttp::error::partial_message;
  if (!gone && error.category() == make_error_code(bhttp::error::bad_version).category()) {
    return ErrorResponse(400, "the request is not valid HTTP/1.1: " + error.message());
  }
  return std::nullopt;
}

}  // namespace recpile::http
