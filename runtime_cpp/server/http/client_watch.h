// Whether the client that waits for an answer is still there.
#pragma once

#include <atomic>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <memory>

namespace recpile::http {

// Looks at one connection between a request's last byte and its answer, while nothing else reads from it. On the
// connection's thread, but where it says otherwise.
class ClientWatch {
 public:
  // Of one request; shared with those who work on it, on whatever thread.
  struct Waiting {
    std::atomic<bool> gone = false;      // the client is
    std::atomic<bool> answered = false;  // the answer is on its way to the connection
  };

  explicit ClientWatch(boost::beast::tcp_stream& stream) : stream_(stream), again_(stream.get_executor()) {}

  // A request has been read.
  void Expect() { waiting_ = std::make_shared<Waiting>(); }
  const std::shared_ptr<Waiting>& waiting() const { return waiting_; }

  // From now on its `gone` becomes true when the client closes. `session` holds the stream and this: it is kept alive.
  void Begin(std::shared_ptr<void> session);

  // There is an answer.
  void End();

 private:
  boost::beast::tcp_stream& stream_;
  std::shared_ptr<Waiting> waiting_;  // null when nobody waits
  boost::asio::steady_timer again_;
};

}  // namespace recpile::http
