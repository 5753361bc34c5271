#include "http/client_watch.h"

#include <poll.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <utility>

namespace recpile::http {
namespace {

using ErrorCode = boost::beast::error_code;

// How soon a connection is looked at again that has more to be read than its end.
constexpr std::chrono::milliseconds kAgain{20};

// Whether the peer has closed, whatever there may still be to read.
bool HungUp(int socket) {
  pollfd one{.fd = socket, .events = POLLRDHUP, .revents = 0};
  return poll(&one, 1, 0) > 0;
}

}  // namespace

void ClientWatch::Begin(std::shared_ptr<void> session) {
  stream_.socket().async_wait(boost::asio::socket_base::wait_read,
                              [this, session = std::move(session)](ErrorCode error) mutable {
                                if (error || waiting_ == nullptr) return;
                                if (HungUp(stream_.socket().native_handle())) {
                                  spdlog::debug("the client closed the connection before its answer");
                                  waiting_->gone = true;
                                  return;
                                }
                                // The next request, or TLS's goodbye. The end may come behind it, and to wait for
                                // reading would not wait for that.
                                again_.expires_after(kAgain);
                                again_.async_wait([this, session = std::move(session)](ErrorCode stopped) mutable {
                                  if (!stopped && waiting_ != nullptr) Begin(std::move(session));
                                });
                              });
}

void ClientWatch::End() {
  if (waiting_ == nullptr) return;
  waiting_ = nullptr;
  ErrorCode ignored;
  stream_.socket().cancel(ignored);  // nothing else is pending on it between a request and its answer
  again_.cancel();
}

}  // namespace recpile::http
