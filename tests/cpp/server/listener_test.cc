#include "sockets/listener.h"

#include <gtest/gtest.h>

#include <boost/asio/ip/tcp.hpp>
#include <future>

namespace recpile::sockets {
namespace {

using boost::asio::ip::tcp;

// Whether `host` may be connected to at `port`.
bool Takes(const std::string& host, uint16_t port) {
  boost::asio::io_context context;
  tcp::socket socket(context);
  boost::system::error_code error;
  socket.connect({boost::asio::ip::make_address(host), port}, error);
  return !error;
}

TEST(Listener, HasItsPortFromBindOnAlsoWhileItDoesNotListen) {
  IoThreads io(1);
  Listener first(&io), second(&io);
  ASSERT_TRUE(first.Bind("127.0.0.1", 0, "--x-port").ok());
  const Status taken = second.Bind("127.0.0.1", first.endpoint().port(), "--x-port");
  EXPECT_EQ(taken.code(), StatusCode::kUnavailable);
  EXPECT_NE(taken.message().find("choose another --x-port"), std::string::npos) << taken.message();
  EXPECT_FALSE(Takes("127.0.0.1", first.endpoint().port()));
}

TEST(Listener, ThePortOfOneWhoseConnectionsAreInTimeWaitMayBeHadAtOnce) {
  uint16_t port = 0;
  {
    IoThreads io(1);
    Listener listener(&io);
    ASSERT_TRUE(listener.Bind("127.0.0.1", 0, "--x-port").ok());
    port = listener.endpoint().port();
    std::promise<tcp::socket> come;
    ASSERT_TRUE(listener.Listen([&](tcp::socket socket) { come.set_value(std::move(socket)); }).ok());
    io.Start([&](boost::asio::io_context& context) { listener.Run(context); });
    boost::asio::io_context context;
    tcp::socket client(context);
    client.connect({boost::asio::ip::make_address("127.0.0.1"), port});
    come.get_future().get().close();  // the server's side first: that one keeps the state
    io.Stop();
  }
  IoThreads io(1);
  Listener next(&io);
  EXPECT_TRUE(next.Bind("127.0.0.1", port, "--x-port").ok());
  EXPECT_TRUE(next.Listen([](tcp::socket) {}).ok());
}

TEST(Listener, HandsOverAllThatCameBeforeItHasClosed) {
  IoThreads io(1);
  Listener listener(&io);
  ASSERT_TRUE(listener.Bind("127.0.0.1", 0, "--x-port").ok());
  int come = 0;
  ASSERT_TRUE(listener.Listen([&](tcp::socket) { ++come; }).ok());
  boost::asio::io_context context;
  tcp::socket first(context), second(context);
  first.connect(listener.endpoint());
  second.connect(listener.endpoint());
  // The thread has both to do when it begins: the one is accepted as it closes.
  std::promise<int> closed;
  listener.Close([&] { closed.set_value(come); });
  io.Start([&](boost::asio::io_context& running) { listener.Run(running); });
  EXPECT_EQ(closed.get_future().get(), 2);
  io.Stop();
}

TEST(Listener, EveryAddressOfVersionSixIsEveryAddressOfVersionFourToo) {
  IoThreads io(1);
  Listener listener(&io);
  if (!listener.Bind("::", 0, "--x-port").ok()) GTEST_SKIP() << "no IPv6 here";
  ASSERT_TRUE(listener.Listen([](tcp::socket) {}).ok());
  EXPECT_TRUE(Takes("127.0.0.1", listener.endpoint().port()));
  EXPECT_TRUE(Takes("::1", listener.endpoint().port()));
}

}  // namespace
}  // namespace recpile::sockets
