#include "http/server.h"

#include <spdlog/spdlog.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <future>
#include <optional>
#include <utility>

#include "http/session.h"
#include "http/session_registry.h"
#include "http/tls_context.h"
#include "sockets/io_threads.h"
#include "sockets/listener.h"

namespace recpile::http {

namespace net = boost::asio;

class Server::Impl {
 public:
  explicit Impl(const ServerOptions& options)
      : options_(options), io_(options.io_threads), last_call_(io_.first()), listener_(&io_) {}

  ~Impl() { JoinThreads(); }

  Status Bind() {
    if (options_.tls) {
      RECPILE_ASSIGN_OR_RETURN(tls_, MakeTlsContext(*options_.tls));
    }
    return listener_.Bind(options_.host, options_.port, "--http-port");
  }

  Status Serve(serving::Context context) {
    service_.emplace(std::move(context));
    RECPILE_RETURN_IF_ERROR(listener_.Listen([this](net::ip::tcp::socket socket) {
      const SessionOptions session{.max_request_bytes = options_.max_request_bytes,
                                   .timeout = options_.timeout,
                                   .large_requests = large_requests_.get_executor()};
      MakeSession(std::move(socket), tls_.get(), session, &*service_, registry_)->Start();
    }));
    io_.Start([this](net::io_context& context) { listener_.Run(context); });
    return Status();
  }

  void BeginDrain() {
    if (service_->draining()) return;
    service_->StartDraining();
    std::promise<void> closed;
    listener_.Close([&closed] { closed.set_value(); });
    closed.get_future().wait();
    last_call_.expires_after(options_.last_call);
    last_call_.async_wait([this](const boost::system::error_code& error) {
      if (!error) registry_->ForEach([](Session& session) { session.CloseIfIdle(); });
    });
  }

  bool AwaitDrained(std::chrono::milliseconds grace) {
    const bool drained = registry_->WaitUntilEmpty(std::chrono::steady_clock::now() + grace);
    if (!drained) spdlog::warn("{} connections were cut off after the grace period", registry_->size());
    JoinThreads();
    return drained;
  }

  bool secure() const { return tls_ != nullptr; }
  net::ip::tcp::endpoint endpoint() const { return listener_.endpoint(); }

 private:
  void JoinThreads() {
    large_requests_.stop();
    large_requests_.join();
    io_.Stop();
  }

  const ServerOptions options_;
  const std::shared_ptr<SessionRegistry> registry_ = std::make_shared<SessionRegistry>();
  std::unique_ptr<net::ssl::context> tls_;  // null: plain HTTP
  std::optional<Service> service_;
  // One thread: large requests wait for each other, not the others for them.
  net::thread_pool large_requests_{1};
  // Destroyed before the service: handlers that never ran go with it, and their sessions with them.
  sockets::IoThreads io_;
  net::steady_timer last_call_;
  sockets::Listener listener_;
};

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Server::~Server() = default;

Result<std::unique_ptr<Server>> Server::Bind(const ServerOptions& options) {
  if (options.io_threads < 1) {
    return Status::InvalidArgument("io_threads is " + std::to_string(options.io_threads) + "; it must be at least 1");
  }
  auto impl = std::make_unique<Impl>(options);
  RECPILE_RETURN_IF_ERROR(impl->Bind());
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

Status Server::Serve(serving::Context context) { return impl_->Serve(std::move(context)); }
void Server::BeginDrain() { impl_->BeginDrain(); }
bool Server::AwaitDrained(std::chrono::milliseconds grace) { return impl_->AwaitDrained(grace); }
uint16_t Server::port() const { return impl_->endpoint().port(); }

std::string Server::url() const {
  const auto endpoint = impl_->endpoint();
  const std::string address = endpoint.address().to_string();
  return (impl_->secure() ? "https://" : "http://") + (endpoint.address().is_v6() ? "[" + address + "]" : address) +
         ":" + std::to_string(endpoint.port());
}

}  // namespace recpile::http
