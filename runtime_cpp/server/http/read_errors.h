// What went wrong while a request was read, as far as a client can be told.
#pragma once

#include <boost/beast/core/error.hpp>
#include <cstdint>
#include <optional>

#include "http/message.h"

namespace recpile::http {

constexpr std::uint32_t kMaxHeaderBytes = 16 << 10;

// Nothing: nobody waits for an answer.
std::optional<Response> AnswerToReadError(boost::beast::error_code error, uint64_t max_request_bytes);

}  // namespace recpile::http
