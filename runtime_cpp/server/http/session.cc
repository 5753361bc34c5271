#include "http/session.h"

#include <spdlog/spdlog.h>

#include <poll.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/stream_base.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/write.hpp>
#include <boost/beast/ssl.hpp>
#include <charconv>
#include <string_view>
#include <type_traits>
#include <utility>

#include "http/stream_session.h"

namespace recpile::http {

namespace net = boost::asio;
namespace beast = boost::beast;
namespace bhttp = boost::beast::http;

namespace {

constexpr std::uint32_t kMaxHeaderBytes = 16 << 10;
constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
// How long a refused client may go on sending before it is cut off.
constexpr std::chrono::milliseconds kLingerTime{5'000};

// Boost's string view changed its type between the versions that we support.
template <class View>
std::string ToString(View view) {
  return std::string(view.data(), view.size());
}

using Plain = beast::tcp_stream;
using Tls = beast::ssl_stream<beast::tcp_stream>;

// JSON of this size takes a millisecond or so to decode.
constexpr size_t kLargeJson = 64 << 10;

// What a connection keeps for reading, and what it takes for a large body: Beast reads as much at once as there is room
// for, and without being told makes room for 512 bytes.
constexpr size_t kReadBytes = 4 << 10;
constexpr size_t kReadBodyBytes = 64 << 10;

// How soon a connection is looked at again that has more to be read than its end.
constexpr std::chrono::milliseconds kWatchAgain{20};

// Whether the peer has closed, whatever there may still be to read.
bool HungUp(int socket) {
  pollfd one{.fd = socket, .events = POLLRDHUP, .revents = 0};
  return poll(&one, 1, 0) > 0;
}

}  // namespace

template <class Stream>
void StreamSession<Stream>::Start() {
  registry_->Add(Self());
  net::post(stream_.get_executor(), [self = Self()] { self->Handshake(); });
}

template <class Stream>
void StreamSession<Stream>::CloseIfIdle() {
  net::post(stream_.get_executor(), [self = Self()] {
    ErrorCode error;
    const bool quiet = self->idle_ && self->buffer_.size() == 0 && self->Tcp().socket().available(error) == 0;
    if (quiet) self->Tcp().close();
  });
}

template <class Stream>
void StreamSession<Stream>::Handshake() {
  if constexpr (std::is_same_v<Stream, Plain>) {
    ReadHeader();
  } else {
    idle_ = true;
    Tcp().expires_after(options_.timeout);
    stream_.async_handshake(net::ssl::stream_base::server, [self = Self()](ErrorCode error) {
      if (!error) return self->ReadHeader();
      spdlog::debug("TLS handshake failed: {}", error.message());
    });
  }
}

template <class Stream>
void StreamSession<Stream>::ReadHeader() {
  head_ = {};
  http_version_ = 11;
  parser_.emplace();
  parser_->header_limit(kMaxHeaderBytes);
  parser_->body_limit(options_.max_request_bytes);
  if (buffer_.size() == 0 && buffer_.capacity() > kReadBytes) buffer_.shrink_to_fit();
  buffer_.reserve(kReadBytes);
  idle_ = true;
  // One deadline for the whole header, however slowly its bytes trickle in.
  Tcp().expires_after(options_.timeout);
  bhttp::async_read_header(stream_, buffer_, *parser_,
                           [self = Self()](ErrorCode error, size_t) { self->OnHeader(error); });
}

template <class Stream>
RequestHead StreamSession<Stream>::TakeHead() const {
  const auto& message = parser_->get();
  return {.method = ToString(message.method_string()),
          .target = ToString(message.target()),
          .content_encoding = ToString(message[bhttp::field::content_encoding]),
          .json_length = ToString(message[kserve::kLengthHeader]),
          .traceparent = ToString(message["traceparent"])};
}

template <class Stream>
void StreamSession<Stream>::OnHeader(ErrorCode error) {
  idle_ = false;
  if (error) return OnReadError(error);
  head_ = TakeHead();
  http_version_ = parser_->get().version();
  keep_alive_ = parser_->keep_alive();
  const auto expect = parser_->get()[bhttp::field::expect];
  if (expect.empty() || http_version_ < 11) return ReadBody();
  if (!beast::iequals(expect, "100-continue")) {
    return RespondAndClose(ErrorResponse(417, "the only expectation that is understood is 100-continue"));
  }
  if (std::optional<Response> refusal = service_->Refuse(head_)) return RespondAndClose(std::move(*refusal));
  Tcp().expires_after(options_.timeout);
  net::async_write(stream_, net::buffer(kContinue.data(), kContinue.size()),
                   [self = Self()](ErrorCode write_error, size_t) {
                     if (!write_error) self->ReadBody();
                   });
}

template <class Stream>
void StreamSession<Stream>::ReadBody() {
  const auto left = parser_->content_length_remaining();
  if (!left || *left > kReadBytes) buffer_.reserve(kReadBodyBytes);
  Tcp().expires_after(options_.timeout);
  bhttp::async_read(stream_, buffer_, *parser_, [self = Self()](ErrorCode error, size_t) { self->OnBody(error); });
}

template <class Stream>
void StreamSession<Stream>::OnBody(ErrorCode error) {
  if (error) return OnReadError(error);
  Tcp().expires_never();
  const auto body = std::make_shared<const RequestBody::value_type>(std::move(parser_->get().body()));
  waiting_ = std::make_shared<Waiting>();
  size_t json = body->bytes().size();
  std::from_chars(head_.json_length.data(), head_.json_length.data() + head_.json_length.size(), json);
  if (json < kLargeJson) {
    Handle(body);
    // What is refused at once is not worth two calls of the system.
    if (!waiting_->answered) Watch();
    return;
  }
  Watch();
  net::post(options_.large_requests, [self = Self(), body] {
    try {
      self->Handle(body);
    } catch (const std::exception& error) {
      spdlog::error("a connection was dropped: {}", error.what());
    }
  });
}

template <class Stream>
void StreamSession<Stream>::Handle(const std::shared_ptr<const RequestBody::value_type>& body) {
  Request request{.head = head_, .body = body->bytes(), .body_owner = body, .gone = {waiting_, &waiting_->gone}};
  service_->Handle(std::move(request), [self = Self(), waiting = waiting_](Service::Finish finish) {
    waiting->answered = true;
    // Perhaps on an engine's thread, and perhaps long after the client has gone.
    net::post(self->stream_.get_executor(), [self, finish = std::move(finish)] { self->Respond(finish()); });
  });
}

template <class Stream>
void StreamSession<Stream>::Watch() {
  Tcp().socket().async_wait(net::socket_base::wait_read, [self = Self()](ErrorCode error) {
    if (error || self->waiting_ == nullptr) return;
    if (HungUp(self->Tcp().socket().native_handle())) {
      spdlog::debug("the client closed the connection before its answer");
      self->waiting_->gone = true;
      return;
    }
    // The next request, or TLS's goodbye. The end may come behind it, and to wait for reading would not wait for that.
    self->watch_again_.expires_after(kWatchAgain);
    self->watch_again_.async_wait([self](ErrorCode stopped) {
      if (!stopped && self->waiting_ != nullptr) self->Watch();
    });
  });
}

template <class Stream>
void StreamSession<Stream>::StopWatching() {
  if (waiting_ == nullptr) return;
  waiting_ = nullptr;
  ErrorCode ignored;
  Tcp().socket().cancel(ignored);  // nothing else is pending on it between a request and its answer
  watch_again_.cancel();
}

template <class Stream>
void StreamSession<Stream>::OnReadError(ErrorCode error) {
  if (error == bhttp::error::body_limit) {
    return RespondAndClose(ErrorResponse(413, "the body is larger than the server's limit of " +
                                                  std::to_string(options_.max_request_bytes) +
                                                  " bytes (--max-request-bytes)"));
  }
  if (error == bhttp::error::header_limit) {
    return RespondAndClose(
        ErrorResponse(431, "the header is larger than " + std::to_string(kMaxHeaderBytes) + " bytes"));
  }
  if (error == boost::system::errc::not_enough_memory) {
    return RespondAndClose(ErrorResponse(503, "out of memory while reading the request; retry later"));
  }
  const bool gone = error == bhttp::error::end_of_stream || error == bhttp::error::partial_message;
  if (!gone && error.category() == make_error_code(bhttp::error::bad_version).category()) {
    return RespondAndClose(ErrorResponse(400, "the request is not valid HTTP/1.1: " + error.message()));
  }
  // The client has closed, was too slow, or sat idle for too long: nobody waits for an answer.
  spdlog::debug("connection closed: {}", error.message());
}

template <class Stream>
void StreamSession<Stream>::RespondAndClose(Response response) {
  linger_ = true;
  keep_alive_ = false;
  Respond(std::move(response));
}

template <class Stream>
void StreamSession<Stream>::Respond(Response response) {
  StopWatching();
  spdlog::debug("{} {} -> {}", head_.method, head_.target, response.status);
  if (service_->draining()) keep_alive_ = false;
  // In the request's version: to an HTTP/1.0 client only its own way of saying keep-alive means that.
  auto& message = response_.emplace(static_cast<bhttp::status>(response.status), http_version_);
  message.set(bhttp::field::server, "recpile");
  if (!response.body.empty()) message.set(bhttp::field::content_type, response.content_type);
  if (!response.allow.empty()) message.set(bhttp::field::allow, response.allow);
  if (response.retry_after) message.set(bhttp::field::retry_after, "1");
  if (response.json_length) message.set(kserve::kLengthHeader, std::to_string(*response.json_length));
  message.keep_alive(keep_alive_);
  message.body() = std::move(response.body);
  message.prepare_payload();
  if (head_.method == "HEAD") message.body().clear();  // Content-Length keeps what a GET would have sent

  serializer_.emplace(message);
  Tcp().expires_after(options_.timeout);
  bhttp::async_write(stream_, *serializer_, [self = Self()](ErrorCode error, size_t) { self->OnWritten(error); });
}

template <class Stream>
void StreamSession<Stream>::OnWritten(ErrorCode error) {
  if (error) {
    spdlog::debug("answer not delivered: {}", error.message());
    return;
  }
  if (keep_alive_) return ReadHeader();
  Close();
}

template <class Stream>
void StreamSession<Stream>::Close() {
  ErrorCode ignored;
  if constexpr (std::is_same_v<Stream, Plain>) Tcp().socket().shutdown(net::ip::tcp::socket::shutdown_send, ignored);
  if (linger_) return Linger();
  if constexpr (std::is_same_v<Stream, Tls>) {
    // Says goodbye, and waits for the client's; without it the answer could pass for one that was cut off.
    Tcp().expires_after(std::min(options_.timeout, kLingerTime));
    stream_.async_shutdown([self = Self()](ErrorCode) {});
  }
}

// To close while the client is sending would reset the connection, and the reset can overtake the answer.
template <class Stream>
void StreamSession<Stream>::Linger() {
  Tcp().expires_after(std::min(options_.timeout, kLingerTime));
  DiscardInput();
}

template <class Stream>
void StreamSession<Stream>::DiscardInput() {
  buffer_.clear();
  stream_.async_read_some(buffer_.prepare(64 << 10), [self = Self()](ErrorCode error, size_t) {
    if (!error) self->DiscardInput();
  });
}

std::shared_ptr<Session> MakeSession(net::ip::tcp::socket socket, net::ssl::context* tls, const SessionOptions& options,
                                     Service* service, std::shared_ptr<SessionRegistry> registry) {
  if (tls == nullptr) {
    return std::make_shared<StreamSession<Plain>>(Plain(std::move(socket)), options, service, std::move(registry));
  }
  return std::make_shared<StreamSession<Tls>>(Tls(Plain(std::move(socket)), *tls), options, service,
                                              std::move(registry));
}

}  // namespace recpile::http
