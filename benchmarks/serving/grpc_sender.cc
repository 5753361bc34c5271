#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>
#include <cstring>
#include <stdexcept>
#include <string_view>
#include <utility>
#include <vector>

#include "asio_sender.h"

namespace recpile::benchmark {
namespace {

namespace net = boost::asio;
using Done = std::function<void(bool ok)>;

// One call.
struct Stream {
  Done done;
  size_t sent = 0;  // of the body
  bool ok = false;  // grpc-status was 0
};

// gRPC as it goes over the wire, on one connection, with a body made beforehand: gRPC's own client library takes as
// much of a core for a call as the server does, which is not what is to be measured (grpc_library_sender.cc has it).
class GrpcSender final : public AsioSender {
 public:
  GrpcSender(const std::string& address, const std::string& request, bool never_sleep)
      : AsioSender(never_sleep), authority_(address), socket_(context_) {
    const auto size = static_cast<uint32_t>(request.size());
    body_ = {'\0', static_cast<char>(size >> 24), static_cast<char>(size >> 16), static_cast<char>(size >> 8),
             static_cast<char>(size)};
    body_ += request;
    Connect(address, &socket_);
    nghttp2_session_callbacks* callbacks = nullptr;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, OnHeader);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, OnClose);
    nghttp2_session_client_new(&session_, callbacks, this);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, nullptr, 0);
    Write();
    Read();
  }
  ~GrpcSender() override { nghttp2_session_del(session_); }

  void Send(Done done) override {
    auto* const stream = new Stream{std::move(done)};
    const nghttp2_nv headers[] = {Header(":method", "POST"),
                                  Header(":scheme", "http"),
                                  Header(":path", "/inference.GRPCInferenceService/ModelInfer"),
                                  Header(":authority", authority_),
                                  Header("te", "trailers"),
                                  Header("content-type", "application/grpc")};
    nghttp2_data_provider body{.source = {.ptr = stream}, .read_callback = ReadBody};
    if (nghttp2_submit_request(session_, nullptr, headers, std::size(headers), &body, stream) < 0) Over(stream);
    Write();
  }

 private:
  static nghttp2_nv Header(std::string_view name, std::string_view value) {
    // They are copied; the interface predates const.
    const auto bytes = [](std::string_view text) {
      return reinterpret_cast<uint8_t*>(const_cast<char*>(text.data()));  // NOLINT
    };
    return {bytes(name), bytes(value), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE};
  }

  static ssize_t ReadBody(nghttp2_session*, int32_t, uint8_t* out, size_t room, uint32_t* flags,
                          nghttp2_data_source* source, void* self) {
    const std::string& body = static_cast<GrpcSender*>(self)->body_;
    auto* const stream = static_cast<Stream*>(source->ptr);
    const size_t size = std::min(room, body.size() - stream->sent);
    std::memcpy(out, body.data() + stream->sent, size);
    stream->sent += size;
    if (stream->sent == body.size()) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return static_cast<ssize_t>(size);
  }

  static int OnHeader(nghttp2_session* session, const nghttp2_frame* frame, const uint8_t* name, size_t name_size,
                      const uint8_t* value, size_t value_size, uint8_t, void*) {
    const std::string_view key(reinterpret_cast<const char*>(name), name_size);
    auto* const stream = static_cast<Stream*>(nghttp2_session_get_stream_user_data(session, frame->hd.stream_id));
    if (stream != nullptr && key == "grpc-status") stream->ok = value_size == 1 && *value == '0';
    return 0;
  }

  static int OnClose(nghttp2_session* session, int32_t id, uint32_t, void*) {
    Over(static_cast<Stream*>(nghttp2_session_get_stream_user_data(session, id)));
    return 0;
  }

  static void Over(Stream* stream) {
    stream->done(stream->ok);
    delete stream;
  }

  void Write() {
    if (writing_) return;
    out_.clear();
    const uint8_t* bytes = nullptr;
    for (ssize_t size = 0; (size = nghttp2_session_mem_send(session_, &bytes)) > 0;) {
      out_.insert(out_.end(), bytes, bytes + size);
    }
    if (out_.empty()) return;
    writing_ = true;
    net::async_write(socket_, net::buffer(out_), [this](boost::system::error_code error, size_t) {
      if (error) throw std::runtime_error("the server has closed the connection");
      writing_ = false;
      Write();
    });
  }

  void Read() {
    socket_.async_read_some(net::buffer(in_), [this](boost::system::error_code error, size_t size) {
      if (error || nghttp2_session_mem_recv(session_, in_.data(), size) < 0) {
        throw std::runtime_error("the server has closed the connection, or speaks no HTTP/2");
      }
      Write();
      Read();
    });
  }

  const std::string authority_;
  std::string body_;
  net::ip::tcp::socket socket_;
  nghttp2_session* session_ = nullptr;
  std::vector<uint8_t> out_;
  bool writing_ = false;  // out_ is on its way
  std::vector<uint8_t> in_ = std::vector<uint8_t>(64 << 10);
};

}  // namespace

std::unique_ptr<Sender> MakeGrpcSender(const std::string& address, const std::string& request, bool never_sleep) {
  return std::make_unique<GrpcSender>(address, request, never_sleep);
}

}  // namespace recpile::benchmark
