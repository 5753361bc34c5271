// A session over plain TCP or TLS.
#pragma once

#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/serializer.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/ssl/ssl_stream.hpp>
#include <memory>
#include <optional>
#include <utility>

#include "http/client_watch.h"
#include "http/read_body.h"
#include "http/request_body.h"
#include "http/session.h"

namespace recpile::http {

using PlainStream = boost::beast::tcp_stream;
using TlsStream = boost::beast::ssl_stream<PlainStream>;

// Everything private runs on the connection's thread, but where it says otherwise.
template <class Stream>
class StreamSession final : public Session, public std::enable_shared_from_this<StreamSession<Stream>> {
 public:
  StreamSession(Stream stream, const SessionOptions& options, Service* service,
                std::shared_ptr<SessionRegistry> registry)
      : stream_(std::move(stream)),
        options_(options),
        service_(service),
        registry_(std::move(registry)),
        watch_(Tcp()) {}
  ~StreamSession() override { registry_->Remove(this); }

  void Start() override;
  void CloseIfIdle() override;

 private:
  // An answer. Whoever was to give it and drops it instead, for lack of memory, ends the connection.
  struct Owed {
    explicit Owed(std::shared_ptr<StreamSession> session) : session(std::move(session)) {}
    Owed(const Owed&) = delete;
    ~Owed() {
      if (!given) session->CutOff();
    }
    const std::shared_ptr<StreamSession> session;
    bool given = false;
  };

  void Handshake();
  void ReadHeader();
  void OnHeader(ErrorCode error);
  void OnBody(std::shared_ptr<RequestBody::value_type> body);
  // Throw std::bad_alloc, and then nobody will answer.
  void HandleHere(const std::shared_ptr<RequestBody::value_type>& body);
  void HandleElsewhere(const std::shared_ptr<RequestBody::value_type>& body);
  void Handle(const std::shared_ptr<RequestBody::value_type>& body);
  void OnReadError(ErrorCode error);

  // In session_body.cc.
  void ReadBody();
  void ReadBodyOfLength(size_t length);
  void ReadChunkedBody();
  Response NoRoom();

  // In session_answer.cc. A request that was not read to its end leaves the connection useless for another.
  void RespondAndClose(Response response);
  void Respond(Response response);
  void Answer(const Service::Finish& finish);
  // Ends the connection without an answer, for lack of memory. From any thread.
  void CutOff();
  void OnWritten(ErrorCode error);
  void Close();
  void Linger();

  std::shared_ptr<StreamSession> Self() { return this->shared_from_this(); }
  boost::beast::tcp_stream& Tcp() { return boost::beast::get_lowest_layer(stream_); }

  Stream stream_;
  const SessionOptions options_;
  Service* const service_;
  const std::shared_ptr<SessionRegistry> registry_;

  boost::beast::flat_buffer buffer_;
  // One message each; remade for every request.
  std::optional<boost::beast::http::request_parser<RequestBody>> parser_;
  std::optional<boost::beast::http::response<boost::beast::http::string_body>> response_;
  std::optional<boost::beast::http::response_serializer<boost::beast::http::string_body>> serializer_;

  ClientWatch watch_;

  RequestHead head_;
  unsigned http_version_ = 11;  // of the request: 11 or 10
  size_t unread_ = 0;           // bytes of a refused request, which are still to come before the next one
  bool idle_ = false;           // waiting for the first byte of a request
  bool linger_ = false;         // the client may still be sending when the answer is written
  bool keep_alive_ = false;
};

}  // namespace recpile::http
