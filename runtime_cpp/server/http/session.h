// One connection: reads a request, hands it to the Service, writes the answer, and so on until either side closes.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <chrono>
#include <memory>

#include "http/service.h"
#include "http/session_registry.h"

namespace recpile::http {

struct SessionOptions {
  uint64_t max_request_bytes = 64 << 20;
  // For each of: the TLS handshake, waiting for a request's header (so also idling), reading its body, writing its
  // answer.
  std::chrono::milliseconds timeout{30'000};
  // Where requests are handled whose JSON is so large that decoding it would keep other connections waiting.
  boost::asio::any_io_executor large_requests;
};

// A session lives as long as an operation on it, or the engine's callback for its request, is pending. While a request
// is being answered it watches for the client's closing the connection, and then lets the engine know.
class Session {
 public:
  virtual ~Session() = default;

  // From any thread.
  virtual void Start() = 0;
  // Closes the connection unless a request has begun to arrive or is being answered. From any thread.
  virtual void CloseIfIdle() = 0;
};

// The socket's executor must be that of one thread. `tls`: null for plain HTTP; it and `service` must outlive the
// session.
std::shared_ptr<Session> MakeSession(boost::asio::ip::tcp::socket socket, boost::asio::ssl::context* tls,
                                     const SessionOptions& options, Service* service,
                                     std::shared_ptr<SessionRegistry> registry);

}  // namespace recpile::http
