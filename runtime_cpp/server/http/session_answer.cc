// Writing the answer, and what becomes of the connection then.
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/ssl/stream_base.hpp>
#include <boost/beast/http/write.hpp>
#include <boost/beast/ssl.hpp>
#include <limits>
#include <new>
#include <type_traits>
#include <utility>

#include "http/answer.h"
#include "http/stream_session.h"

namespace recpile::http {

namespace net = boost::asio;
namespace bhttp = boost::beast::http;

namespace {

// How long a refused client may go on sending before it is cut off.
constexpr std::chrono::milliseconds kLingerTime{5'000};

}  // namespace

template <class Stream>
void StreamSession<Stream>::RespondAndClose(Response response) {
  linger_ = true;
  keep_alive_ = false;
  // Others need the room that what was read of it takes.
  if (parser_) parser_->get().body() = {};
  Respond(std::move(response));
}

template <class Stream>
void StreamSession<Stream>::Respond(Response response) {
  watch_.End();
  spdlog::debug("{} {} -> {}", head_.method, head_.target, response.status);
  if (service_->draining()) keep_alive_ = false;
  auto& message = response_.emplace(MessageOf(std::move(response), http_version_, keep_alive_));
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
  if constexpr (std::is_same_v<Stream, PlainStream>)
    Tcp().socket().shutdown(net::ip::tcp::socket::shutdown_send, ignored);
  if (linger_ || unread_ > 0) return Linger();
  if constexpr (std::is_same_v<Stream, TlsStream>) {
    // Says goodbye, and waits for the client's; without it the answer could pass for one that was cut off.
    Tcp().expires_after(std::min(options_.timeout, kLingerTime));
    stream_.async_shutdown([self = Self()](ErrorCode) {});
  }
}

// To close while the client is sending would reset the connection, and the reset can overtake the answer.
template <class Stream>
void StreamSession<Stream>::Linger() {
  Tcp().expires_after(std::min(options_.timeout, kLingerTime));
  buffer_.clear();
  // Until it closes, or its time is over.
  SkipBytes(stream_, std::numeric_limits<size_t>::max(), [self = Self()](ErrorCode) {});
}

template <class Stream>
void StreamSession<Stream>::Answer(const Service::Finish& finish) {
  const auto made = [&finish] {
    try {
      return finish();
    } catch (const std::bad_alloc&) {
      return ErrorResponse(503, "out of memory while answering; retry later");
    }
  };
  try {
    Respond(made());
  } catch (const std::bad_alloc&) {
    // The watch for a client that leaves would keep the connection open.
    CutOff();
  }
}

template <class Stream>
void StreamSession<Stream>::CutOff() {
  // A call of the system: needs no memory, and may come from any thread. What waits for the client ends with it.
  ::shutdown(Tcp().socket().native_handle(), SHUT_RDWR);
}

// What session.cc calls; the rest is reached from these.
template void StreamSession<PlainStream>::Respond(Response);
template void StreamSession<PlainStream>::RespondAndClose(Response);
template void StreamSession<PlainStream>::Answer(const Service::Finish&);
template void StreamSession<PlainStream>::CutOff();
template void StreamSession<TlsStream>::Respond(Response);
template void StreamSession<TlsStream>::RespondAndClose(Response);
template void StreamSession<TlsStream>::Answer(const Service::Finish&);
template void StreamSession<TlsStream>::CutOff();

}  // namespace recpile::http
