// A sender all of whose work, sockets included, is done on the thread that sends: no switch of threads is in what it
// measures but those of the server.
#pragma once

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <string>

#include "senders.h"

namespace recpile::benchmark {

class AsioSender : public Sender {
 public:
  // Not to sleep is to take as much of the machine at any rate: where a hardware thread shares its core, as the load's
  // with the server's, the server would else be slower the more it is sent.
  explicit AsioSender(bool never_sleep) : never_sleep_(never_sleep) {}

  void WaitUntil(Clock::time_point time) override {
    if (never_sleep_) {
      while (Clock::now() < time) context_.poll();
      return;
    }
    bool over = false;
    timer_.expires_at(time);
    timer_.async_wait([&over](boost::system::error_code) { over = true; });
    while (!over) context_.run_one();
  }

 protected:
  // Throws boost::system::system_error: nobody listens there.
  void Connect(const std::string& address, boost::asio::ip::tcp::socket* socket) {
    using boost::asio::ip::tcp;
    const size_t colon = address.rfind(':');
    const auto found = tcp::resolver(context_).resolve(address.substr(0, colon), address.substr(colon + 1));
    socket->connect(*found.begin());
    socket->set_option(tcp::no_delay(true));
  }

  boost::asio::io_context context_{1};

 private:
  const bool never_sleep_;
  // Else the context would stop whenever there is nothing to do.
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_ = make_work_guard(context_);
  boost::asio::steady_timer timer_{context_};
};

}  // namespace recpile::benchmark
