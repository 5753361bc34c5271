// Reading what follows a request's header, of known length: into its place, or nowhere.
#pragma once

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/read.hpp>
#include <boost/beast/core/stream_traits.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <cstddef>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>

namespace recpile::http {

using ErrorCode = boost::beast::error_code;

// Fills `into`, whatever lies there must outlive the operation, or stops as soon as `more(bytes read so far)` is false;
// then calls `done(error, bytes read)`. The stream's timer applies.
template <class Stream, class More, class Done>
void ReadWhile(Stream& stream, std::span<std::byte> into, More more, Done done) {
  // As much at once as there is: Asio by itself reads 64 KiB at a time.
  const auto left = [size = into.size(), more = std::move(more)](ErrorCode error, size_t read) mutable {
    return error || !more(read) ? 0 : size - read;
  };
  boost::asio::async_read(stream, boost::asio::buffer(into.data(), into.size()), std::move(left), std::move(done));
}

// Drops bytes that have arrived, `most` or fewer, without copying them. Returns how many; 0: it knows no way.
inline size_t DropArrived([[maybe_unused]] int socket, [[maybe_unused]] size_t most) {
#ifdef __linux__
  constexpr size_t kAtMost = 1 << 20;
  const ssize_t dropped = recv(socket, nullptr, std::min(most, kAtMost), MSG_TRUNC | MSG_DONTWAIT);
  if (dropped > 0) return static_cast<size_t>(dropped);
#endif
  return 0;
}

// Reads `left` bytes that nobody wants; then calls `done(error)`. The stream, which `done` keeps alive, has its timer.
template <class Stream, class Done>
void SkipBytes(Stream& stream, size_t left, Done done) {
  constexpr size_t kAtOnce = 4 << 10;
  // Encrypted bytes cannot be dropped unread: the next ones could not be decrypted.
  if constexpr (std::is_same_v<Stream, boost::beast::tcp_stream>)
    left -= DropArrived(stream.socket().native_handle(), left);
  if (left == 0) return done(ErrorCode());
  const auto scratch = std::make_shared<std::array<std::byte, kAtOnce>>();
  stream.async_read_some(boost::asio::buffer(scratch->data(), std::min(left, kAtOnce)),
                         [&stream, left, scratch, done = std::move(done)](ErrorCode error, size_t read) mutable {
                           if (error) return done(error);
                           SkipBytes(stream, left - read, std::move(done));
                         });
}

}  // namespace recpile::http
