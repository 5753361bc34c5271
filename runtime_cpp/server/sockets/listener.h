// The listening socket: claims a port, and later turns incoming connections into sessions.
#pragma once

#include <atomic>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/error.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "http/io_threads.h"
#include "recpile/status.h"

namespace recpile::http {

// Bind and Listen are called before the I/O threads run; Close from any thread. The object must outlive those threads.
class Listener {
 public:
  // Receives each connection, on a socket of one of the I/O threads.
  using OnConnection = std::function<void(boost::asio::ip::tcp::socket)>;

  explicit Listener(IoThreads* io);

  // Claims host:port, so that a conflict shows early; connections are refused until Listen. Port 0: any free one.
  // kInvalidArgument: no such host. kUnavailable: the port is taken or may not be used.
  Status Bind(const std::string& host, uint16_t port);
  Status Listen(OnConnection on_connection);

  // Accepts what the kernel has already queued for us, stops listening, and then calls `closed` (on an I/O thread).
  void Close(std::function<void()> closed);

  // Memory may run out at any place between two connections, and then the next one is not waited for. Whoever runs the
  // I/O threads asks from time to time while it `owes` that, and has it made up for. May throw std::bad_alloc again.
  bool owes() const { return *owes_; }
  void Resume();

  // What was bound: the address and the port in numbers.
  boost::asio::ip::tcp::endpoint endpoint() const { return endpoint_; }

 private:
  using ErrorCode = boost::beast::error_code;

  // Somebody waits for a connection, or will. Going unfulfilled, it says that nobody does.
  class Turn {
   public:
    explicit Turn(std::shared_ptr<std::atomic<bool>> owes) : owes_(std::move(owes)) {}
    Turn(Turn&& other) noexcept = default;
    Turn& operator=(Turn&&) = delete;
    ~Turn() {
      if (owes_ != nullptr) *owes_ = true;
    }
    void Fulfil() { owes_ = nullptr; }

   private:
    std::shared_ptr<std::atomic<bool>> owes_;
  };

  void Accept(Turn turn);
  void OnAccept(Turn turn, ErrorCode error, boost::asio::ip::tcp::socket socket);
  void Hand(boost::asio::ip::tcp::socket socket);

  IoThreads* const io_;
  boost::asio::ip::tcp::acceptor acceptor_;
  boost::asio::steady_timer retry_;
  boost::asio::ip::tcp::endpoint endpoint_;
  OnConnection on_connection_;
  const std::shared_ptr<std::atomic<bool>> owes_ = std::make_shared<std::atomic<bool>>(false);
};

}  // namespace recpile::http
