// The listening socket: claims a port, and later turns incoming connections into sessions.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/beast/core/error.hpp>
#include <cstdint>
#include <functional>
#include <string>

#include "recpile/status.h"

namespace recpile::http {

// Bind and Listen are called before the I/O threads run; Close from any thread. The object must outlive those threads.
class Listener {
 public:
  // Receives each connection, on a socket with a strand of its own.
  using OnConnection = std::function<void(boost::asio::ip::tcp::socket)>;

  explicit Listener(boost::asio::io_context* context);

  // Claims host:port, so that a conflict shows early; connections are refused until Listen. Port 0: any free one.
  // kInvalidArgument: no such host. kUnavailable: the port is taken or may not be used.
  Status Bind(const std::string& host, uint16_t port);
  Status Listen(OnConnection on_connection);

  // Accepts what the kernel has already queued for us, stops listening, and then calls `closed` (on an I/O thread).
  void Close(std::function<void()> closed);

  // What was bound: the address and the port in numbers.
  boost::asio::ip::tcp::endpoint endpoint() const { return endpoint_; }

 private:
  using ErrorCode = boost::beast::error_code;

  void Accept();
  void OnAccept(ErrorCode error, boost::asio::ip::tcp::socket socket);
  void Hand(boost::asio::ip::tcp::socket socket);

  boost::asio::io_context* const context_;
  boost::asio::strand<boost::asio::io_context::executor_type> strand_;
  boost::asio::ip::tcp::acceptor acceptor_;
  boost::asio::steady_timer retry_;
  boost::asio::ip::tcp::endpoint endpoint_;
  OnConnection on_connection_;
};

}  // namespace recpile::http
