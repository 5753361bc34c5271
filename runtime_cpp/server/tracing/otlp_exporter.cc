#include "tracing/otlp_exporter.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <charconv>
#include <exception>
#include <utility>

#include "tracing/otlp_json.h"

namespace recpile::tracing {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr size_t kMostAtOnce = 256;
constexpr milliseconds kCollect{500};
constexpr milliseconds kFirstPause{500}, kLongestPause{30'000};
constexpr seconds kTimeout{5};

// One exchange, on the calling thread. 0: there was none, and `why` says why not.
int Post(const Endpoint& endpoint, std::string body, std::string* why) {
  asio::io_context io;
  beast::tcp_stream stream(io);
  asio::ip::tcp::resolver resolver(io);
  beast::http::request<beast::http::string_body> request(beast::http::verb::post, endpoint.path, 11);
  request.set(beast::http::field::host, endpoint.host + ":" + endpoint.port);
  request.set(beast::http::field::content_type, "application/json");
  request.set(beast::http::field::connection, "close");
  request.body() = std::move(body);
  request.prepare_payload();
  beast::flat_buffer buffer;
  beast::http::response_parser<beast::http::string_body> response;
  response.body_limit(1 << 20);
  int status = 0;
  // Each step begins the next; the stream's timeout ends any of them.
  const auto failed = [&](const boost::system::error_code& error) {
    if (error) *why = error.message();
    return static_cast<bool>(error);
  };
  const auto read = [&](const boost::system::error_code& error, size_t) {
    if (!failed(error)) status = response.get().result_int();
  };
  const auto written = [&](const boost::system::error_code& error, size_t) {
    if (!failed(error)) beast::http::async_read(stream, buffer, response, read);
  };
  const auto connected = [&](const boost::system::error_code& error, const asio::ip::tcp::endpoint&) {
    if (!failed(error)) beast::http::async_write(stream, request, written);
  };
  stream.expires_after(kTimeout);
  resolver.async_resolve(endpoint.host, endpoint.port,
                         [&](const boost::system::error_code& error, const auto& addresses) {
                           if (!failed(error)) stream.async_connect(addresses, connected);
                         });
  io.run();
  return status;
}

}  // namespace

Result<Endpoint> ParseEndpoint(const std::string& url) {
  const auto wrong = [&](const std::string& what) {
    return Status::InvalidArgument("--otlp-endpoint: got " + url + ": " + what +
                                   "; use http://HOST[:4318][/v1/traces]");
  };
  constexpr std::string_view kScheme = "http://";
  if (!url.starts_with(kScheme)) return wrong("only plain http is spoken, to a collector on this host or near it");
  std::string rest = url.substr(kScheme.size());
  Endpoint endpoint{.port = "4318", .path = "/v1/traces"};
  if (const size_t slash = rest.find('/'); slash != rest.npos) {
    if (slash + 1 < rest.size()) endpoint.path = rest.substr(slash);
    rest.resize(slash);
  }
  const bool v6 = rest.starts_with('[');
  const size_t close = v6 ? rest.find(']') : 0;
  if (close == rest.npos) return wrong("a '[' is not closed");
  if (const size_t colon = rest.find(':', close); colon != rest.npos) {
    endpoint.port = rest.substr(colon + 1);
    rest.resize(colon);
  }
  int port = 0;
  const char* const end = endpoint.port.data() + endpoint.port.size();
  const auto parsed = std::from_chars(endpoint.port.data(), end, port);
  if (parsed.ec != std::errc() || parsed.ptr != end || port < 1 || port > 65535) return wrong("the port is no port");
  endpoint.host = v6 ? rest.substr(1, close - 1) : rest;
  if (endpoint.host.empty()) return wrong("there is no host");
  if (std::any_of(url.begin(), url.end(), [](unsigned char c) { return c <= ' ' || c > '~'; })) {
    return wrong("it holds a character that no URL may have");
  }
  return endpoint;
}

OtlpExporter::OtlpExporter(OtlpOptions options, std::string server_version)
    : options_(std::move(options)), server_version_(std::move(server_version)), thread_([this] { Run(); }) {}

OtlpExporter::~OtlpExporter() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void OtlpExporter::Export(RequestSpan span) {
  const std::lock_guard lock(mutex_);
  if (waiting_.size() >= options_.max_waiting) {
    ++counts_.dropped;
    return;
  }
  waiting_.push_back(std::move(span));
  if (waiting_.size() == kMostAtOnce) changed_.notify_one();
}

void OtlpExporter::Run() {
  std::vector<RequestSpan> batch;
  batch.reserve(kMostAtOnce);
  std::string body;
  milliseconds pause{0};
  while (Fill(&batch, pause)) {
    const Sent sent = Send(batch, &body);
    if (sent == Sent::kLater) {
      pause = std::clamp(pause * 2, kFirstPause, kLongestPause);
      continue;
    }
    pause = milliseconds(0);
    (sent == Sent::kTaken ? counts_.exported : counts_.dropped) += batch.size();
    batch.clear();
    body.clear();
  }
  counts_.dropped += batch.size();
}

bool OtlpExporter::Fill(std::vector<RequestSpan>* batch, milliseconds pause) {
  std::unique_lock lock(mutex_);
  // The last attempt has failed.
  if (ending_ && !batch->empty()) return false;
  if (pause.count() > 0) {
    changed_.wait_for(lock, pause, [this] { return ending_; });
    if (!batch->empty()) return true;
  }
  while (!ending_ && waiting_.size() < kMostAtOnce) {
    if (changed_.wait_for(lock, kCollect) == std::cv_status::timeout && !waiting_.empty()) break;
  }
  if (waiting_.empty()) return false;
  const auto end = waiting_.begin() + static_cast<std::ptrdiff_t>(std::min(waiting_.size(), kMostAtOnce));
  batch->assign(std::make_move_iterator(waiting_.begin()), std::make_move_iterator(end));
  waiting_.erase(waiting_.begin(), end);
  return true;
}

OtlpExporter::Sent OtlpExporter::Send(const std::vector<RequestSpan>& batch, std::string* body) {
  try {
    // What is sent again is the same, so that a collector that took it and could not say so need not have it twice.
    if (body->empty()) *body = ExportRequest(batch, server_version_);
    return Send(*body);
  } catch (const std::exception&) {
    return Sent::kLater;  // there was no memory for it
  }
}

OtlpExporter::Sent OtlpExporter::Send(const std::string& body) {
  std::string why;
  const int status = Post(options_.endpoint, body, &why);
  if (status >= 200 && status < 300) {
    complained_ = false;
    return Sent::kTaken;
  }
  if (!complained_) {
    if (status != 0) why = "it answers " + std::to_string(status);
    spdlog::warn("no spans to {}:{}: {}", options_.endpoint.host, options_.endpoint.port, why);
    complained_ = true;
  }
  // Those that the protocol says to try again.
  return status == 0 || status == 429 || (status >= 502 && status <= 504) ? Sent::kLater : Sent::kRefused;
}

}  // namespace recpile::tracing
