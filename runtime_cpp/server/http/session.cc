#include "http/session.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/bind_handler.hpp>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/write.hpp>
#include <string_view>
#include <utility>

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

}  // namespace

Session::Session(net::ip::tcp::socket socket, const SessionOptions& options, Service* service,
                 std::shared_ptr<SessionRegistry> registry)
    : stream_(std::move(socket)), options_(options), service_(service), registry_(std::move(registry)) {}

Session::~Session() { registry_->Remove(this); }

void Session::Start() {
  registry_->Add(shared_from_this());
  net::post(stream_.get_executor(), beast::bind_front_handler(&Session::ReadHeader, shared_from_this()));
}

void Session::CloseIfIdle() {
  net::post(stream_.get_executor(), [self = shared_from_this()] {
    ErrorCode error;
    const bool quiet = self->idle_ && self->buffer_.size() == 0 && self->stream_.socket().available(error) == 0;
    if (quiet) self->stream_.close();
  });
}

void Session::ReadHeader() {
  head_ = {};
  http_version_ = 11;
  parser_.emplace();
  parser_->header_limit(kMaxHeaderBytes);
  parser_->body_limit(options_.max_request_bytes);
  idle_ = true;
  // One deadline for the whole header, however slowly its bytes trickle in.
  stream_.expires_after(options_.timeout);
  bhttp::async_read_header(stream_, buffer_, *parser_,
                           [self = shared_from_this()](ErrorCode error, size_t) { self->OnHeader(error); });
}

RequestHead Session::TakeHead() const {
  const auto& message = parser_->get();
  return {.method = ToString(message.method_string()),
          .target = ToString(message.target()),
          .content_encoding = ToString(message[bhttp::field::content_encoding]),
          .json_length = ToString(message[kserve::kLengthHeader])};
}

void Session::OnHeader(ErrorCode error) {
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
  stream_.expires_after(options_.timeout);
  net::async_write(stream_, net::buffer(kContinue.data(), kContinue.size()),
                   [self = shared_from_this()](ErrorCode write_error, size_t) {
                     if (!write_error) self->ReadBody();
                   });
}

void Session::ReadBody() {
  stream_.expires_after(options_.timeout);
  bhttp::async_read(stream_, buffer_, *parser_,
                    [self = shared_from_this()](ErrorCode error, size_t) { self->OnBody(error); });
}

void Session::OnBody(ErrorCode error) {
  if (error) return OnReadError(error);
  stream_.expires_never();
  const auto body = std::make_shared<const RequestBody::value_type>(std::move(parser_->get().body()));
  Request request{.head = head_, .body = body->bytes(), .body_owner = body};
  service_->Handle(std::move(request), [self = shared_from_this()](Service::Finish finish) {
    // Perhaps on an engine's thread, and perhaps long after the client has gone.
    net::post(self->stream_.get_executor(), [self, finish = std::move(finish)] { self->Respond(finish()); });
  });
}

void Session::OnReadError(ErrorCode error) {
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

void Session::RespondAndClose(Response response) {
  linger_ = true;
  keep_alive_ = false;
  Respond(std::move(response));
}

void Session::Respond(Response response) {
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
  stream_.expires_after(options_.timeout);
  bhttp::async_write(stream_, *serializer_,
                     [self = shared_from_this()](ErrorCode error, size_t) { self->OnWritten(error); });
}

void Session::OnWritten(ErrorCode error) {
  if (error) {
    spdlog::debug("answer not delivered: {}", error.message());
    return;
  }
  if (keep_alive_) return ReadHeader();
  ErrorCode ignored;
  stream_.socket().shutdown(net::ip::tcp::socket::shutdown_send, ignored);
  if (linger_) Linger();
}

// To close while the client is sending would reset the connection, and the reset can overtake the answer.
void Session::Linger() {
  stream_.expires_after(std::min(options_.timeout, kLingerTime));
  DiscardInput();
}

void Session::DiscardInput() {
  buffer_.clear();
  stream_.async_read_some(buffer_.prepare(64 << 10), [self = shared_from_this()](ErrorCode error, size_t) {
    if (!error) self->DiscardInput();
  });
}

}  // namespace recpile::http
