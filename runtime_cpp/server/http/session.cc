// Making sessions, reading their headers and handing on their requests; session_body.cc reads bodies, session_answer.cc
// writes the answers.
#include "http/session.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/stream_base.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/ssl.hpp>
#include <charconv>
#include <new>
#include <string_view>
#include <type_traits>
#include <utility>

#include "http/arrival.h"
#include "http/read_body.h"
#include "http/read_errors.h"
#include "http/request_head.h"
#include "http/stream_session.h"
#include "serving/log_caught.h"

namespace recpile::http {

namespace net = boost::asio;
namespace beast = boost::beast;
namespace bhttp = boost::beast::http;

namespace {

constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
// JSON of this size takes a millisecond or so to decode.
constexpr size_t kLargeJson = 64 << 10;

// What a connection keeps for reading: Beast reads as much at once as there is room for, and without being told makes
// room for 512 bytes.
constexpr size_t kReadBytes = 4 << 10;

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
  if constexpr (std::is_same_v<Stream, PlainStream>) {
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
  if (unread_ > 0) {
    Tcp().expires_after(options_.timeout);
    return SkipBytes(stream_, std::exchange(unread_, 0),
                     [self = Self()](ErrorCode error) { error ? self->OnReadError(error) : self->ReadHeader(); });
  }
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
void StreamSession<Stream>::OnHeader(ErrorCode error) {
  idle_ = false;
  if (error) return OnReadError(error);
  head_ = HeadOf(parser_->get());
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
void StreamSession<Stream>::OnBody(std::shared_ptr<RequestBody::value_type> body) {
  Tcp().expires_never();
  head_.arrived = LastArrival(Tcp().socket().native_handle());
  watch_.Expect();
  size_t json = body->bytes().size();
  std::from_chars(head_.json_length.data(), head_.json_length.data() + head_.json_length.size(), json);
  try {
    json < kLargeJson ? HandleHere(body) : HandleElsewhere(body);
  } catch (const std::bad_alloc&) {
    watch_.End();
    RespondAndClose(ErrorResponse(503, "out of memory while handling the request; retry later"));
  }
}

template <class Stream>
void StreamSession<Stream>::HandleHere(const std::shared_ptr<RequestBody::value_type>& body) {
  const auto waiting = watch_.waiting();
  Handle(body);
  // What is refused at once is not worth two calls of the system.
  if (waiting->answered) return;
  try {
    watch_.Begin(Self());
  } catch (const std::bad_alloc&) {
    // Then it is not noticed if the client leaves. Its request is at the engine, and is answered.
  }
}

template <class Stream>
void StreamSession<Stream>::HandleElsewhere(const std::shared_ptr<RequestBody::value_type>& body) {
  watch_.Begin(Self());
  net::post(options_.large_requests, [self = Self(), body] {
    try {
      self->Handle(body);
    } catch (const std::exception& error) {
      serving::LogCaught("a connection was dropped", error);
      self->CutOff();
    }
  });
}

template <class Stream>
void StreamSession<Stream>::Handle(const std::shared_ptr<RequestBody::value_type>& body) {
  const std::shared_ptr<ClientWatch::Waiting> waiting = watch_.waiting();
  Request request{.head = head_,
                  .body = body->bytes(),
                  .body_owner = body,
                  .held = std::move(body->held),
                  .gone = {waiting, &waiting->gone}};
  const auto owed = std::make_shared<Owed>(Self());
  try {
    service_->Handle(std::move(request), [owed, waiting](Service::Finish finish) {
      waiting->answered = true;
      // Perhaps on an engine's thread, and perhaps long after the client has gone.
      net::post(owed->session->stream_.get_executor(),
                [self = owed->session, finish = std::move(finish)] { self->Answer(finish); });
      owed->given = true;
    });
  } catch (const std::bad_alloc&) {
    owed->given = true;  // by whoever catches it
    throw;
  }
}

template <class Stream>
void StreamSession<Stream>::OnReadError(ErrorCode error) {
  if (std::optional<Response> answer = AnswerToReadError(error, options_.max_request_bytes)) {
    return RespondAndClose(std::move(*answer));
  }
  // The client has closed, was too slow, or sat idle for too long: nobody waits for an answer.
  spdlog::debug("connection closed: {}", error.message());
}

std::shared_ptr<Session> MakeSession(net::ip::tcp::socket socket, net::ssl::context* tls, const SessionOptions& options,
                                     Service* service, std::shared_ptr<SessionRegistry> registry) {
  if (tls == nullptr) {
    return std::make_shared<StreamSession<PlainStream>>(PlainStream(std::move(socket)), options, service,
                                                        std::move(registry));
  }
  return std::make_shared<StreamSession<TlsStream>>(TlsStream(PlainStream(std::move(socket)), *tls), options, service,
                                                    std::move(registry));
}

// What session_body.cc calls.
template void StreamSession<PlainStream>::OnBody(std::shared_ptr<RequestBody::value_type>);
template void StreamSession<TlsStream>::OnBody(std::shared_ptr<RequestBody::value_type>);

}  // namespace recpile::http
