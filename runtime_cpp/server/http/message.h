// Requests and answers as the endpoints see them: no socket, no Boost.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "serving/byte_budget.h"

namespace recpile::http {

// What is known once the header is read.
struct RequestHead {
  std::string method;  // "GET"
  std::string target;  // "/v2/models/dlrm/infer", as sent
  std::string content_encoding;
  std::string json_length;  // Inference-Header-Content-Length as sent; empty: absent
  std::string traceparent;  // of the client's trace, as sent
  // When what has been read of the request came.
  std::chrono::steady_clock::time_point arrived = std::chrono::steady_clock::now();
};

struct Request {
  RequestHead head;
  std::span<const std::byte> body;
  std::shared_ptr<const void> body_owner;  // keeps `body` alive
  serving::ByteBudget::Share held;         // of its bytes, until it is answered
  // Becomes true when the client has closed the connection and nobody waits for the answer. May be null.
  std::shared_ptr<const std::atomic<bool>> gone;
};

struct Response {
  int status = 200;
  std::string body;
  std::string content_type = "application/json";
  std::string allow;                  // with 405
  bool retry_after = false;           // with 503
  std::optional<size_t> json_length;  // the answer's Inference-Header-Content-Length
  std::chrono::microseconds rest{0};  // of a refusal: see serving/rest.h
};

}  // namespace recpile::http
