#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "asio_sender.h"

namespace recpile::benchmark {
namespace {

namespace net = boost::asio;
namespace http = boost::beast::http;
using Done = std::function<void(bool ok)>;

// One request at a time.
struct Connection {
  explicit Connection(net::io_context& context) : socket(context) {}

  net::ip::tcp::socket socket;
  boost::beast::flat_buffer buffer;
  std::optional<http::response_parser<http::string_body>> parser;
  Done done;
};

class HttpSender final : public AsioSender {
 public:
  HttpSender(const std::string& address, const std::string& request, int connections, bool never_sleep)
      : AsioSender(never_sleep), request_(request) {
    for (int i = 0; i < connections; ++i) {
      connections_.push_back(std::make_unique<Connection>(context_));
      Connect(address, &connections_.back()->socket);
      idle_.push_back(connections_.back().get());
    }
  }

  void Send(Done done) override {
    waiting_.push_back(std::move(done));
    Next();
  }

 private:
  void Next() {
    if (idle_.empty() || waiting_.empty()) return;
    Connection* const connection = idle_.back();
    idle_.pop_back();
    connection->done = std::move(waiting_.front());
    waiting_.pop_front();
    net::async_write(connection->socket, net::buffer(request_),
                     [this, connection](boost::system::error_code error, size_t) {
                       if (error) return Finish(connection, false);
                       connection->parser.emplace();
                       http::async_read(connection->socket, connection->buffer, *connection->parser,
                                        [this, connection](boost::system::error_code failed, size_t) {
                                          Finish(connection, !failed && connection->parser->get().result_int() == 200);
                                        });
                     });
  }

  void Finish(Connection* connection, bool ok) {
    connection->done(ok);
    idle_.push_back(connection);
    Next();
  }

  const std::string request_;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<Connection*> idle_;
  std::deque<Done> waiting_;
};

}  // namespace

std::unique_ptr<Sender> MakeHttpSender(const std::string& address, const std::string& request, int connections,
                                       bool never_sleep) {
  return std::make_unique<HttpSender>(address, request, connections, never_sleep);
}

}  // namespace recpile::benchmark
