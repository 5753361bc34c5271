// Reading bodies, as far as there is room for them.
#include <algorithm>
#include <boost/asio/ssl/stream_base.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/ssl.hpp>
#include <new>
#include <string_view>
#include <utility>

#include "http/arrival.h"
#include "http/read_body.h"
#include "http/stream_session.h"
#include "sockets/listener.h"

namespace recpile::http {

namespace bhttp = boost::beast::http;

namespace {

// Read at once of a body that comes in chunks.
constexpr size_t kReadChunksBytes = 64 << 10;

}  // namespace

template <class Stream>
void StreamSession<Stream>::ReadBody() {
  Tcp().expires_after(options_.timeout);
  if (parser_->chunked()) return ReadChunkedBody();
  const size_t length = static_cast<size_t>(parser_->content_length().value_or(0));
  if (length > buffer_.size()) {
    const std::string_view arrived(static_cast<const char*>(buffer_.data().data()), buffer_.size());
    head_.arrived = LastArrival(Tcp().socket().native_handle());
    if (std::optional<Response> refusal = service_->RefuseEarly(head_, arrived)) {
      unread_ = length - buffer_.size();
      buffer_.clear();
      sockets::Listener::Rest(refusal->rest);
      return Respond(std::move(*refusal));
    }
  }
  ReadBodyOfLength(length);
}

template <class Stream>
void StreamSession<Stream>::ReadBodyOfLength(size_t length) {
  const auto body = std::make_shared<RequestBody::value_type>();
  std::byte* rest = nullptr;
  const size_t arrived = std::min(length, buffer_.size()), left = length - arrived;
  body->held = service_->Hold();
  if (!body->held.GrowTo(arrived)) {
    buffer_.consume(arrived);
    unread_ = left;
    return Respond(NoRoom());
  }
  try {
    body->Place(parser_->get(), length);
    body->buffer.Append(buffer_.data().data(), arrived);
    rest = body->buffer.Extend(left);
  } catch (const std::bad_alloc&) {
    return OnReadError(make_error_code(boost::system::errc::not_enough_memory));
  }
  buffer_.consume(arrived);
  if (left == 0) return OnBody(body);
  // What has come counts, and not what is announced: else who only announces would leave no room for others.
  const auto room = [body, arrived](size_t read) { return body->held.GrowTo(arrived + read); };
  ReadWhile(stream_, {rest, left}, room, [self = Self(), body, room, left](ErrorCode error, size_t read) {
    if (error) return self->OnReadError(error);
    if (read == left && room(read)) return self->OnBody(body);
    self->unread_ = left - read;
    self->Respond(self->NoRoom());
  });
}

template <class Stream>
void StreamSession<Stream>::ReadChunkedBody() {
  buffer_.reserve(kReadChunksBytes);
  parser_->get().body().held = service_->Hold();
  bhttp::async_read(stream_, buffer_, *parser_, [self = Self()](ErrorCode error, size_t) {
    RequestBody::value_type& body = self->parser_->get().body();
    if (body.refused) return self->RespondAndClose(self->NoRoom());
    if (error) return self->OnReadError(error);
    self->OnBody(std::make_shared<RequestBody::value_type>(std::move(body)));
  });
}

template <class Stream>
Response StreamSession<Stream>::NoRoom() {
  head_.arrived = LastArrival(Tcp().socket().native_handle());
  return service_->RefuseForRoom(head_);
}

// What session.cc calls; the rest is reached from it.
template void StreamSession<PlainStream>::ReadBody();
template void StreamSession<TlsStream>::ReadBody();

}  // namespace recpile::http
