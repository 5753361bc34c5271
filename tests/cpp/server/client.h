// A blocking HTTP client that can misbehave.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cstdint>
#include <string>
#include <string_view>

namespace recpile::testing {

class Client {
 public:
  using Response = boost::beast::http::response<boost::beast::http::string_body>;

  explicit Client(uint16_t port) { socket_.connect({boost::asio::ip::make_address("127.0.0.1"), port}); }

  void Send(std::string_view text) { boost::asio::write(socket_, boost::asio::buffer(text.data(), text.size())); }

  // False once the server does not take any more.
  bool TrySend(std::string_view text) {
    boost::beast::error_code error;
    boost::asio::write(socket_, boost::asio::buffer(text.data(), text.size()), error);
    return !error;
  }

  Response Receive(bool head_request = false) {
    boost::beast::http::response_parser<boost::beast::http::string_body> parser;
    parser.skip(head_request);
    boost::beast::http::read(socket_, buffer_, parser);
    return parser.release();
  }

  // Exactly so many bytes, whatever they mean.
  std::string ReceiveRaw(size_t count) {
    std::string text(count, '\0');
    boost::asio::read(socket_, boost::asio::buffer(text));
    return text;
  }

  // Waits until the server closes; false if it sends something first.
  bool ServerCloses() {
    char byte;
    boost::beast::error_code error;
    return buffer_.size() == 0 && socket_.read_some(boost::asio::buffer(&byte, 1), error) == 0 && error;
  }

  // Resets the connection instead of ending it politely.
  void Vanish() {
    socket_.set_option(boost::asio::socket_base::linger(true, 0));
    socket_.close();
  }

 private:
  boost::asio::io_context context_;
  boost::asio::ip::tcp::socket socket_{context_};
  boost::beast::flat_buffer buffer_;
};

inline std::string Get(std::string_view target) {
  return "GET " + std::string(target) + " HTTP/1.1\r\nHost: x\r\n\r\n";
}

inline std::string Post(std::string_view body, std::string_view headers = {}) {
  return "POST /v2/models/toy/infer HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" +
         std::string(headers) + "\r\n" + std::string(body);
}

}  // namespace recpile::testing
