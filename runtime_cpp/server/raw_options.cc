#include "raw_options.h"

namespace recpile {
namespace {

// Puts a port where it belongs; `off` leaves nothing there.
template <typename ServerOptions>
void SetPort(const std::string& port, const std::string& host, std::optional<ServerOptions>* server) {
  if (port == "off") return server->reset();
  (*server)->host = host;
  (*server)->port = static_cast<uint16_t>(std::stoi(port));
}

}  // namespace

std::string Mistake(const CommandLine& options, const RawOptions& raw) {
  if (options.artifact.empty() == raw.folder.empty()) {
    return "give either an artifact or --model-repository DIR";
  }
  if (raw.folder.empty() && (raw.control != "none" || raw.versions != "latest" || !options.load_at_start.empty())) {
    return "--model-control, --model-versions and --load-model need --model-repository DIR";
  }
  if (!raw.folder.empty() && !options.model_name.empty()) {
    return "--model-name is for one artifact; in a repository a model has its folder's name";
  }
  if (raw.tls.certificate.empty() != raw.tls.key.empty()) return "--tls-certificate and --tls-key go together";
  if (raw.tls.certificate.empty() && !raw.tls.client_ca.empty()) return "--tls-client-ca needs --tls-certificate";
  if (options.max_pending_bytes > 0 && options.max_pending_bytes < raw.max_request_bytes) {
    return "--max-pending-bytes is " + std::to_string(options.max_pending_bytes) +
           "; it must be 0, or at least --max-request-bytes, which is " + std::to_string(raw.max_request_bytes);
  }
  if (raw.http_port == "off" && raw.grpc_port == "off") return "--http-port and --grpc-port cannot both be off";
  if (!raw.otlp_endpoint.empty()) {
    if (const auto endpoint = tracing::ParseEndpoint(raw.otlp_endpoint); !endpoint.ok()) {
      return endpoint.status().message();
    }
  }
  if (!kHasGrpc && raw.grpc_port != "off") return "--grpc-port: this build has no gRPC; use off";
  return "";
}

void Finish(const RawOptions& raw, CommandLine* to) {
  CommandLine& options = *to;
  if (!raw.folder.empty()) {
    options.repository = serving::RepositoryOptions{
        .folder = raw.folder,
        .versions = raw.versions == "all" ? serving::VersionPolicy::kAll : serving::VersionPolicy::kLatest,
        .control = raw.control == "explicit"};
  }
  options.engine.verify_checksums = !raw.no_verify_checksums;
  options.engine.pad_batches = raw.pad_batches == "always"  ? PadBatches::kAlways
                               : raw.pad_batches == "never" ? PadBatches::kNever
                                                            : PadBatches::kAuto;
  options.engine.timeout_action = raw.timeout_action == "delay" ? TimeoutAction::kDelay : TimeoutAction::kReject;
  options.engine.out_of_range = raw.out_of_range == "zero" ? OutOfRange::kZero : OutOfRange::kError;
  options.engine.table_memory = raw.table_memory == "mmap"        ? TableMemory::kMmap
                                : raw.table_memory == "hugepages" ? TableMemory::kHugePages
                                                                  : TableMemory::kAuto;
  options.grace = std::chrono::seconds(raw.grace_seconds);
  options.log_format = raw.log_format == "json" ? LogFormat::kJson : LogFormat::kText;
  if (!raw.trace_out.empty()) {
    options.trace_file = {.path = raw.trace_out, .max_bytes = static_cast<uint64_t>(raw.trace_out_megabytes) << 20};
  }
  if (!raw.otlp_endpoint.empty()) options.otlp = {.endpoint = tracing::ParseEndpoint(raw.otlp_endpoint).value()};
  const auto both = [&](auto& server) {
    server->timeout = std::chrono::seconds(raw.timeout_seconds);
    server->max_request_bytes = raw.max_request_bytes;
    if (!raw.tls.certificate.empty()) server->tls = raw.tls;
  };
  both(options.http);
  both(options.grpc);
  if (!raw.recording.file.empty()) options.recording = raw.recording;
  SetPort(raw.http_port, raw.host, &options.http);
  SetPort(raw.grpc_port, raw.host, &options.grpc);
  SetPort(raw.metrics_port, raw.host, &options.metrics);
}

}  // namespace recpile
