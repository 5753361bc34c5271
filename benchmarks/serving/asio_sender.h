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
  void WaitUntil(Clock::time_point time) override {
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
  // Else the context would stop whenever there is nothing to do.
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_ = make_work_guard(context_);
  boost::asio::steady_timer timer_{context_};
};

}  // namespace recpile::benchmark
