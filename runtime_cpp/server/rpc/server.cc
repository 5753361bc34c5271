#include "rpc/server.h"

#include <absl/synchronization/mutex.h>
#include <google/protobuf/stubs/logging.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <netinet/tcp.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/ip/tcp.hpp>
#include <future>
#include <limits>
#include <optional>
#include <thread>
#include <utility>

#include "rpc/call.h"
#include "rpc/dispatcher.h"
#include "rpc/patience.h"
#include "rpc/service.h"
#include "sockets/io_threads.h"
#include "sockets/listener.h"

namespace recpile::rpc {
namespace {

// Protobuf complains to stderr of every text that is not UTF-8, which whoever reaches the port may send without end.
void LogOfProtobuf(google::protobuf::LogLevel, const char*, int, const std::string& message) {
  spdlog::debug("protobuf: {}", message);
}

constexpr int kMessageWindowBytes = 1 << 20;
constexpr int kFrameBytes = 256 << 10;
// With much less it takes no calls at all.
constexpr size_t kLeastQuotaBytes = 4 << 20;

}  // namespace

class Server::Impl {
 public:
  explicit Impl(const ServerOptions& options) : options_(options) {}

  ~Impl() {
    // What is handed to gRPC once it has been shut down is never closed.
    draining_.valid() ? listener_closed_.wait() : io_.Stop();
    if (server_ == nullptr) return;
    server_->Shutdown(std::chrono::system_clock::now());
    if (draining_.valid()) draining_.wait();
    io_.Stop();
    // The engines have answered; what is left is on its way through the dispatcher.
    while (host_.in_flight > 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (service_) service_->Close();
    reading_->Close();
    sending_->Close();
    dispatcher_.reset();
  }

  Status Bind() {
    google::protobuf::SetLogHandler(LogOfProtobuf);
    // Some distributions' builds look for deadlocks at every lock of gRPC's, which is many for each call.
    absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
    grpc::ServerBuilder builder;
    const int limit = static_cast<int>(std::min<uint64_t>(options_.max_request_bytes, std::numeric_limits<int>::max()));
    const int timeout = static_cast<int>(options_.timeout.count());
    builder.SetMaxReceiveMessageSize(limit);
    builder.SetResourceQuota(quota_);
    // What is unpacked may be a thousand times as large as what came, and gRPC looks at its size afterwards.
    for (const auto packed : {GRPC_COMPRESS_DEFLATE, GRPC_COMPRESS_GZIP}) {
      builder.SetCompressionAlgorithmSupportStatus(packed, false);
    }
    // gRPC's defaults, 64 KiB of a message before its sender must wait for leave to go on, in frames of 16 KiB, make
    // round trips of a request of a few hundred candidates.
    builder.AddChannelArgument(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kMessageWindowBytes);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_FRAME_SIZE, kFrameBytes);
    builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, timeout);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, timeout);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, timeout);
    // Else a client whose machine has gone is never missed while it has no call under way.
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
    RECPILE_ASSIGN_OR_RETURN(const auto credentials, Credentials());
    RECPILE_RETURN_IF_ERROR(listener_.Bind(options_.host, options_.port, "--grpc-port"));
    acceptor_ = builder.experimental().AddExternalConnectionAcceptor(
        grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD, credentials);
    builder.RegisterService(&inference_);
    builder.RegisterService(&health_);
    auto queue = builder.AddCompletionQueue();
    server_ = builder.BuildAndStart();
    reading_.emplace(queue.get(), options_.timeout);
    sending_.emplace(queue.get(), options_.timeout);
    dispatcher_.emplace(std::move(queue));
    if (server_ != nullptr) return Status();
    return Status::Unavailable("gRPC does not take these settings; its log says why, with GRPC_VERBOSITY=error");
  }

  Status Serve(serving::Context context) {
    // Beyond it gRPC ends calls, with RESOURCE_EXHAUSTED, and lets go of connections without any.
    if (context.budget != nullptr) quota_.Resize(std::max(context.budget->limit(), kLeastQuotaBytes));
    host_.dispatcher = &*dispatcher_;
    host_.reading = &*reading_;
    host_.sending = &*sending_;
    service_.emplace(std::move(context), &host_, &inference_, &health_);
    service_->Listen(options_.threads);
    dispatcher_->Start(options_.threads);
    RECPILE_RETURN_IF_ERROR(listener_.Listen([this](boost::asio::ip::tcp::socket socket) { Hand(std::move(socket)); }));
    io_.Start([this](boost::asio::io_context& context) { listener_.Run(context); });
    return Status();
  }

  void BeginDrain(std::chrono::milliseconds grace) {
    if (draining_.valid()) return;
    service_->StartDraining();
    deadline_ = std::chrono::system_clock::now() + grace;
    draining_ = std::async(std::launch::async, [this] { Drain(); });
  }

  bool AwaitDrained() {
    // It may block beyond the deadline: for an engine that holds on to a call. Or be over before the engine is, for it
    // waits for connections: those go with their clients, and all of them at the deadline.
    const bool closed = draining_.wait_until(deadline_) == std::future_status::ready;
    while (host_.in_flight > 0 && std::chrono::system_clock::now() < deadline_) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    const bool drained = closed && host_.in_flight == 0;
    if (!drained) spdlog::warn("{} gRPC calls were cut off after the grace period", host_.in_flight.load());
    return drained;
  }

  uint16_t port() const { return listener_.endpoint().port(); }
  std::string address() const {
    const bool v6 = options_.host.find(':') != std::string::npos;
    return (v6 ? "[" + options_.host + "]" : options_.host) + ":" + std::to_string(port());
  }

 private:
  // From here on the connection is gRPC's, to close as well.
  void Hand(boost::asio::ip::tcp::socket socket) {
    boost::system::error_code ignored;
    socket.native_non_blocking(true, ignored);
    // As gRPC would have told a socket of its own: for how long what has been sent may go unacknowledged.
    const unsigned milliseconds = static_cast<unsigned>(options_.timeout.count());
    ::setsockopt(socket.native_handle(), IPPROTO_TCP, TCP_USER_TIMEOUT, &milliseconds, sizeof milliseconds);
    grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
    connection.fd = socket.release();
    acceptor_->HandleNewConnection(&connection);
  }

  Result<std::shared_ptr<grpc::ServerCredentials>> Credentials() const {
    if (!options_.tls) return grpc::InsecureServerCredentials();
    RECPILE_ASSIGN_OR_RETURN(const serving::TlsText text, serving::ReadTls(*options_.tls));
    grpc::SslServerCredentialsOptions ssl(text.client_ca.empty()
                                              ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                                              : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
    ssl.pem_root_certs = text.client_ca;
    ssl.pem_key_cert_pairs.push_back({text.key, text.certificate});
    return grpc::SslServerCredentials(ssl);
  }

  void Drain() {
    using Steady = std::chrono::steady_clock;
    const Steady::time_point last{Steady::duration(host_.last_arrival)};
    const auto pause =
        std::min<std::chrono::system_clock::duration>(options_.last_call, deadline_ - std::chrono::system_clock::now());
    if (Steady::now() - last < std::chrono::seconds(1) && pause.count() > 0) {
      std::this_thread::sleep_for(pause);
      service_->StartRefusing();
      std::this_thread::sleep_for(pause);
    }
    // What has not come whole by now would be refused anyway, and a client that is stuck would hold up the rest.
    reading_->GiveUpAll();
    listener_.Close([this] { closed_.set_value(); });
    listener_closed_.wait();
    // Blocks until the calls that have arrived are answered; at the deadline it cancels them.
    server_->Shutdown(deadline_);
  }

  const ServerOptions options_;
  // gRPC's own does not accept any more, for good, once file descriptors have run out.
  sockets::IoThreads io_{1};
  sockets::Listener listener_{&io_};
  std::promise<void> closed_;
  std::shared_future<void> listener_closed_{closed_.get_future()};
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> acceptor_;
  grpc::ResourceQuota quota_{"requests"};  // of what is still coming
  Inference inference_;
  Health health_;
  std::optional<Patience> reading_, sending_;
  std::optional<Dispatcher> dispatcher_;
  CallHost host_{};
  std::optional<Service> service_;
  std::unique_ptr<grpc::Server> server_;
  std::chrono::system_clock::time_point deadline_;
  std::future<void> draining_;
};

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Server::~Server() = default;

Result<std::unique_ptr<Server>> Server::Bind(const ServerOptions& options) {
  if (options.threads < 1) {
    return Status::InvalidArgument("threads is " + std::to_string(options.threads) + "; it must be at least 1");
  }
  auto impl = std::make_unique<Impl>(options);
  RECPILE_RETURN_IF_ERROR(impl->Bind());
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

Status Server::Serve(serving::Context context) { return impl_->Serve(std::move(context)); }
void Server::BeginDrain(std::chrono::milliseconds grace) { impl_->BeginDrain(grace); }
bool Server::AwaitDrained() { return impl_->AwaitDrained(); }
uint16_t Server::port() const { return impl_->port(); }
std::string Server::address() const { return impl_->address(); }

}  // namespace recpile::rpc
