// A body, read such that its first binary tensor is aligned, and can be used where it lies.
#pragma once

#include <boost/asio/buffer.hpp>
#include <boost/beast/core/error.hpp>
#include <boost/beast/http/fields.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/optional.hpp>
#include <charconv>
#include <cstdint>
#include <new>
#include <span>

#include "kserve/aligned_buffer.h"
#include "kserve/binary_tail.h"
#include "serving/byte_budget.h"

namespace recpile::http {

// Fulfils Beast's requirements for a Body that is only read. Beast does so where a body comes in chunks.
struct RequestBody {
  struct value_type {
    kserve::AlignedBuffer buffer;
    size_t padding = 0;  // unused bytes in front
    serving::ByteBudget::Share held;
    bool refused = false;  // there was no room for it

    // Makes room for `length` bytes, if so many are known to come. Throws std::bad_alloc.
    template <class Fields>
    void Place(const Fields& fields, size_t length) {
      constexpr size_t kAlignment = kserve::AlignedBuffer::kAlignment;
      static constexpr std::byte kZeros[kAlignment] = {};
      // Only a hint here: whether the header's value makes sense is for the codec to say.
      const auto text = fields[kserve::kLengthHeader];
      size_t json = 0;
      std::from_chars(text.data(), text.data() + text.size(), json);
      padding = (kAlignment - json % kAlignment) % kAlignment;
      buffer.Reserve(padding + length);
      buffer.Append(kZeros, padding);
    }

    std::span<const std::byte> bytes() const { return buffer.span().subspan(padding); }
  };

  class reader {
   public:
    // Beast makes the reader with its parser, when no field has been read yet: they are looked at in init().
    template <bool isRequest, class Fields>
    reader(boost::beast::http::header<isRequest, Fields>& header, value_type& body) : fields_(&header), body_(body) {}

    // `length` is the Content-Length, which the parser has held against the body limit; absent if chunked.
    void init(const boost::optional<std::uint64_t>& length, boost::beast::error_code& error) {
      Guard(error, [&] { body_.Place(*fields_, static_cast<size_t>(length.value_or(0))); });
    }

    template <class ConstBufferSequence>
    size_t put(const ConstBufferSequence& buffers, boost::beast::error_code& error) {
      size_t taken = 0;
      Guard(error, [&] {
        for (auto it = boost::asio::buffer_sequence_begin(buffers); it != boost::asio::buffer_sequence_end(buffers);
             ++it) {
          const boost::asio::const_buffer part = *it;
          if (!body_.held.GrowTo(body_.buffer.size() + part.size())) {
            body_.refused = true;
            error = make_error_code(boost::system::errc::no_buffer_space);
            return;
          }
          body_.buffer.Append(part.data(), part.size());
          taken += part.size();
        }
      });
      return taken;
    }

    void finish(boost::beast::error_code& error) { error = {}; }

   private:
    template <class Action>
    static void Guard(boost::beast::error_code& error, Action action) {
      error = {};
      try {
        action();
      } catch (const std::bad_alloc&) {
        error = make_error_code(boost::system::errc::not_enough_memory);
      }
    }

    const boost::beast::http::fields* fields_;
    value_type& body_;
  };
};

}  // namespace recpile::http
