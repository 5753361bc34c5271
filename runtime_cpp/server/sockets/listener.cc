#include "sockets/listener.h"

#include <spdlog/spdlog.h>

#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/post.hpp>
#include <chrono>
#include <exception>
#include <thread>
#include <utility>

#include "serving/log_caught.h"

namespace recpile::sockets {

namespace net = boost::asio;
using net::ip::tcp;

namespace {

// Before it is tried again to wait for a connection where there was no memory for that.
constexpr std::chrono::milliseconds kPause{20};

thread_local std::chrono::microseconds rest{0};

}  // namespace

Listener::Listener(IoThreads* io) : io_(io), acceptor_(io->first()), retry_(io->first()) {}

Status Listener::Bind(const std::string& host, uint16_t port, const std::string& flag) {
  ErrorCode error;
  tcp::resolver resolver(io_->first());
  const auto flags = tcp::resolver::passive | tcp::resolver::numeric_service;
  const auto found = resolver.resolve(host, std::to_string(port), flags, error);
  if (error || found.empty()) {
    return Status::InvalidArgument("--host '" + host + "' is no address of this machine: " + error.message());
  }
  const tcp::endpoint wanted = found.begin()->endpoint();
  acceptor_.open(wanted.protocol(), error);
  if (!error && wanted.protocol() == tcp::v6()) acceptor_.set_option(net::ip::v6_only(false), error);
  // Alone, for of two that share the address, and do not listen yet, both would have it ...
  if (!error) acceptor_.bind(wanted, error);
  if (error == net::error::address_in_use) {
    // ... or else a restarted server would have to wait until the old connections' TIME_WAIT is over.
    acceptor_.set_option(net::socket_base::reuse_address(true), error);
    if (!error) acceptor_.bind(wanted, error);
  }
  if (!error) endpoint_ = acceptor_.local_endpoint(error);
  if (!error) return Status();
  const std::string address = host + ":" + std::to_string(port);
  if (error == net::error::address_in_use) {
    return Status::Unavailable(address + " is in use by another process; choose another " + flag +
                               " (0: any free one, off: none)");
  }
  return Status::Unavailable("cannot bind " + address + ": " + error.message());
}

Status Listener::Listen(OnConnection on_connection) {
  ErrorCode error;
  // Of the connections, whose socket inherits it: when they are in TIME_WAIT the next server may have the address.
  acceptor_.set_option(net::socket_base::reuse_address(true), error);
  if (!error) acceptor_.listen(net::socket_base::max_listen_connections, error);
  if (error) {
    return Status::Unavailable("cannot listen on port " + std::to_string(endpoint_.port()) + ": " + error.message());
  }
  on_connection_ = std::move(on_connection);
  *owes_ = true;
  Resume();
  return Status();
}

void Listener::Run(net::io_context& context) {
  const bool listens = &context == &io_->first();
  while (!context.stopped()) {
    try {
      if (listens && *owes_) {
        context.run_for(kPause);
        Resume();
      }
      context.run_one();
      if (rest.count() == 0) continue;
      while (context.poll() > 0) {
      }
      std::this_thread::sleep_for(std::exchange(rest, std::chrono::microseconds(0)));
    } catch (const std::exception& error) {
      // What the handler held is gone with it; the others need not suffer.
      serving::LogCaught("a connection was dropped", error);
    }
  }
}

void Listener::Rest(std::chrono::microseconds time) { rest = time; }

void Listener::Resume() {
  if (!owes_->exchange(false)) return;
  net::post(io_->first(), [this, turn = Turn(owes_)]() mutable { Accept(std::move(turn)); });
}

void Listener::Accept(Turn turn) {
  if (!acceptor_.is_open()) return turn.Fulfil();
  acceptor_.async_accept(net::any_io_executor(io_->Next().get_executor()),
                         [this, turn = std::move(turn)](ErrorCode error, tcp::socket socket) mutable {
                           OnAccept(std::move(turn), error, std::move(socket));
                         });
}

void Listener::OnAccept(Turn turn, ErrorCode error, tcp::socket socket) {
  // Also if it has been closed in between.
  if (!error) Hand(std::move(socket));
  if (!acceptor_.is_open() || error == net::error::operation_aborted) return turn.Fulfil();
  if (!error || error == net::error::connection_aborted) return Accept(std::move(turn));
  // Most likely out of file descriptors. At once it would only fail again.
  spdlog::warn("cannot accept a connection: {}; trying again in 100 ms", error.message());
  retry_.expires_after(std::chrono::milliseconds(100));
  retry_.async_wait([this, turn = std::move(turn)](ErrorCode) mutable { Accept(std::move(turn)); });
}

void Listener::Hand(tcp::socket socket) {
  ErrorCode ignored;
  // Answers are single writes; to wait for more to send with them only adds latency.
  socket.set_option(tcp::no_delay(true), ignored);
  on_connection_(std::move(socket));
}

void Listener::Close(std::function<void()> closed) {
  net::post(io_->first(), [this, closed = std::move(closed)]() mutable {
    ErrorCode error;
    acceptor_.non_blocking(true, error);
    while (!error) {
      try {
        tcp::socket socket{net::any_io_executor(io_->Next().get_executor())};
        acceptor_.accept(socket, error);
        if (!error) Hand(std::move(socket));
      } catch (const std::exception& thrown) {
        serving::LogCaught("a connection was dropped", thrown);
      }
    }
    retry_.cancel();
    acceptor_.close(error);
    // Behind the connection that may have been accepted just now, and is not handed over yet.
    net::post(io_->first(), std::move(closed));
  });
}

}  // namespace recpile::sockets
