#include "metrics/server.h"

#include <prometheus/exposer.h>

#include <exception>
#include <utility>

#include "metrics/collector.h"

namespace recpile::metrics {

class Server::Impl {
 public:
  Impl(std::string host, const std::string& bind) : host_(std::move(host)), exposer_(bind, /*num_threads=*/2) {}

  void Serve(const serving::Context& context) {
    collector_ = std::make_shared<Collector>(context);
    exposer_.RegisterCollectable(collector_);
  }
  std::string address() const { return host_ + ":" + std::to_string(exposer_.GetListeningPorts().at(0)); }

 private:
  const std::string host_;
  std::shared_ptr<Collector> collector_;  // the exposer holds it weakly
  prometheus::Exposer exposer_;
};

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Server::~Server() = default;

Result<std::unique_ptr<Server>> Server::Bind(const ServerOptions& options) {
  const bool v6 = options.host.find(':') != std::string::npos;
  const std::string host = v6 ? "[" + options.host + "]" : options.host;
  const std::string wanted = host + ":" + std::to_string(options.port);
  try {
    return std::unique_ptr<Server>(new Server(std::make_unique<Impl>(host, wanted)));
  } catch (const std::exception&) {
    // CivetWeb does not say why. Distributions build it without IPv6.
    return Status::Unavailable("cannot listen on " + wanted + ": it is in use" +
                               (v6 ? ", no address of this machine, or IPv6, which the library for metrics may not know"
                                   : " or no address of this machine") +
                               "; choose another --metrics-port (0: any free one, off: no metrics)");
  }
}

void Server::Serve(const serving::Context& context) { impl_->Serve(context); }
std::string Server::address() const { return impl_->address(); }

}  // namespace recpile::metrics
