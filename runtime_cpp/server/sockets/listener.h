// The listening socket: claims a port, and later hands over the connections that come.
#pragma once

#include <atomic>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/error.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "recpile/status.h"
#include "sockets/io_threads.h"

namespace recpile::sockets {

// Bind and Listen are called before the I/O threads run, Run on each of them; Close from any thread, while they run.
// The object must outlive those threads.
class Listener {
 public:
  // Receives each connection, on a socket of one of the I/O threads.
  using OnConnection = std::function<void(boost::asio::ip::tcp::socket)>;

  explicit Listener(IoThreads* io);

  // Claims host:port, so that a conflict shows early; connections are refused until Listen. Port 0: any free one.
  // `flag` is what chooses the port, for errors. kInvalidArgument: no such host. kUnavailable: the port is taken or may
  // not be used.
  Status Bind(const std::string& host, uint16_t port, const std::string& flag);
  Status Listen(OnConnection on_connection);

  // Runs a context of the I/O threads until it is stopped, whatever handlers throw.
  void Run(boost::asio::io_context& context);

  // On an I/O thread: looks away for so long, once, when nothing is left to do.
  static void Rest(std::chrono::microseconds time);

  // Accepts what the kernel has already queued for us, stops listening, and then calls `closed` (on an I/O thread).
  void Close(std::function<void()> closed);

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

  // Memory may run out at any place between two connections, and then the next one is not waited for: that is owed.
  // Makes up for it. May throw std::bad_alloc again.
  void Resume();
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

}  // namespace recpile::sockets
