// One connection: reads a request, hands it to the Service, writes the answer, and so on until either side closes.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/serializer.hpp>
#include <boost/beast/http/string_body.hpp>
#include <chrono>
#include <memory>
#include <optional>

#include "http/request_body.h"
#include "http/service.h"
#include "http/session_registry.h"

namespace recpile::http {

struct SessionOptions {
  uint64_t max_request_bytes = 64 << 20;
  // For each of: waiting for a request's header (so also idling), reading its body, writing its answer.
  std::chrono::milliseconds timeout{30'000};
};

// Everything private runs on the socket's strand. A session lives as long as an operation on it, or the engine's
// callback for its request, is pending; a client that vanishes is noticed when the answer is written.
class Session : public std::enable_shared_from_this<Session> {
 public:
  // The socket's executor must be a strand. `service` must outlive the session.
  Session(boost::asio::ip::tcp::socket socket, const SessionOptions& options, Service* service,
          std::shared_ptr<SessionRegistry> registry);
  ~Session();

  // From any thread.
  void Start();
  // Closes the connection unless a request has begun to arrive or is being answered. From any thread.
  void CloseIfIdle();

 private:
  using ErrorCode = boost::beast::error_code;

  void ReadHeader();
  void OnHeader(ErrorCode error);
  void ReadBody();
  void OnBody(ErrorCode error);
  void OnReadError(ErrorCode error);
  // A request that was not read to its end leaves the connection useless for another.
  void RespondAndClose(Response response);
  void Respond(Response response);
  void OnWritten(ErrorCode error);
  void Linger();
  void DiscardInput();
  RequestHead TakeHead() const;

  boost::beast::tcp_stream stream_;
  const SessionOptions options_;
  Service* const service_;
  const std::shared_ptr<SessionRegistry> registry_;

  boost::beast::flat_buffer buffer_;
  // One message each; remade for every request.
  std::optional<boost::beast::http::request_parser<RequestBody>> parser_;
  std::optional<boost::beast::http::response<boost::beast::http::string_body>> response_;
  std::optional<boost::beast::http::response_serializer<boost::beast::http::string_body>> serializer_;

  RequestHead head_;
  unsigned http_version_ = 11;  // of the request: 11 or 10
  bool idle_ = false;           // waiting for the first byte of a request
  bool linger_ = false;         // the client may still be sending when the answer is written
  bool keep_alive_ = false;
};

}  // namespace recpile::http
