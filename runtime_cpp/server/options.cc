#include "options.h"

#include <cstdint>
#include <limits>
#include <utility>

#include "option_kinds.h"
#include "raw_options.h"
#include "yaml_config.h"

namespace recpile {
namespace {

constexpr int64_t kDaySeconds = 24 * 60 * 60;
constexpr int64_t kMost = int64_t{1} << 40;  // bytes
constexpr int64_t kMany = std::numeric_limits<int32_t>::max();

void AddModels(CLI::App& app, CommandLine& options, RawOptions& raw) {
  Text(app, "Models", "--model-name", options.model_name, "NAME",
       "Serve the artifact under this name [the manifest's]");
  Text(app, "Models", "--model-repository", raw.folder, "DIR",
       "Serve every model of this folder instead: DIR/NAME/VERSION.pt2 or DIR/NAME/VERSION/model.pt2");
  Choice(app, "Models", "--model-versions", raw.versions, {"latest", "all"}, "Versions of each model to serve");
  Choice(app, "Models", "--model-control", raw.control, {"none", "explicit"},
         "Whether clients may load and unload models; if so, none is loaded at the start but what --load-model says");
  List(app, "Models", "--load-model", options.load_at_start, "NAME,...",
       "Load only these models of the repository at the start; '*': all of them");
  Text(app, "Models", "--fbgemm-dir", options.engine.fbgemm_dir, "DIR",
       "Where FBGEMM's operator libraries lie [beside the libtorch in use]");
  Number(app, "Models", "--load-nice", options.load_nice, 0, 19,
         "Priority, as nice(1) has it, of loading and warming up models while others are served");
  Choice(app, "Models", "--out-of-range", raw.out_of_range, {"error", "zero"},
         "What an id that its table does not have is: a bad request, or a row of zeros; both are counted by table");
  Choice(app, "Models", "--table-memory", raw.table_memory, {"mmap", "hugepages", "auto"},
         "Tables stay in the mapped artifact, or are copied to huge pages; auto: if they are large and memory allows");
  app.add_flag("--no-verify-checksums", raw.no_verify_checksums,
               "Load faster: do not compare entries with their checksums")
      ->group("Models");
}

void AddBatching(CLI::App& app, EngineOptions& engine, RawOptions& raw) {
  Number(app, "Batching", "--instances", engine.instances, 0, 4096,
         "Batches of a model that may run side by side; 0: one a core, or fewer if a trial says so");
  app.add_flag("--pin", engine.pin, "Keep each instance to one core")->group("Batching");
  Number(app, "Batching", "--max-batch-size", engine.max_batch_size, 1, kMany, "Candidates (rows) in one batch");
  Number(app, "Batching", "--max-queue-delay-microseconds", engine.max_queue_delay_microseconds, 0, kMany,
         "How long a request may wait for company while an instance is idle");
  List(app, "Batching", "--preferred-batch-size", engine.preferred_batch_sizes, "N,...",
       "Batches of just so many candidates run at once; others wait, as long as the delay says");
  Choice(app, "Batching", "--pad-batches", raw.pad_batches, {"auto", "always", "never"},
         "Run batches at a few sizes only, padded; auto: of models with layers smaller than fp32");
  Number(app, "Batching", "--priority-levels", engine.priority_levels, 1, 1000,
         "Requests may ask for priority 1 (first) to N; 1: all are equal");
  Number(app, "Batching", "--default-priority-level", engine.default_priority_level, 0, 1000,
         "Of requests that ask for none; 0: the middle one");
  Number(app, "Batching", "--default-timeout-microseconds", engine.default_timeout_microseconds, 0, 3'600'000'000,
         "For requests that bring none: one that cannot be answered by then is refused with 503; 0: no limit");
  Choice(app, "Batching", "--timeout-action", raw.timeout_action, {"reject", "delay"},
         "Refuse a request that cannot be answered in time, or put it behind the others");
  Number(app, "Batching", "--max-queue-size", engine.max_queue_size, 1, kMany,
         "Requests of a model that may wait; one more is refused with 503");
}

void AddNetwork(CLI::App& app, CommandLine& options, RawOptions& raw) {
  Text(app, "Network", "--host", raw.host, "HOST [127.0.0.1]", "Address to listen on; 0.0.0.0: all of them");
  Port(app, "--http-port", raw.http_port, "HTTP; 0: any free port");
  Port(app, "--grpc-port", raw.grpc_port, kHasGrpc ? "gRPC" : "gRPC (this build has none)");
  Port(app, "--metrics-port", raw.metrics_port, "Prometheus metrics, at /metrics");
  Number(app, "Network", "--io-threads", options.http->io_threads, 1, 256,
         "Threads that read and write HTTP; the cores belong to the models");
  Number(app, "Network", "--grpc-threads", options.grpc->threads, 1, 256, "Threads that read and write gRPC");
  Number(app, "Network", "--max-request-bytes", raw.max_request_bytes, 1024, kMost,
         "A larger request is refused: 413, RESOURCE_EXHAUSTED");
  Number(app, "Network", "--max-pending-bytes", options.max_pending_bytes, 0, kMost,
         "Of all requests that are being read or wait; 0: a quarter of the memory that the models leave");
  Number(app, "Network", "--request-timeout-seconds", raw.timeout_seconds, 1, kDaySeconds,
         "For reading a request's header or body, idling between requests, and writing an answer");
  app.add_flag("--shared-memory", options.shared_memory,
               "Let clients on this machine register POSIX shared memory for their tensors")
      ->group("Network");
  Text(app, "Network", "--tls-certificate", raw.tls.certificate, "FILE", "PEM: speak TLS, on HTTP's and gRPC's ports");
  Text(app, "Network", "--tls-key", raw.tls.key, "FILE", "PEM: the certificate's key");
  Text(app, "Network", "--tls-client-ca", raw.tls.client_ca, "FILE", "PEM: let in clients of these authorities only");
}

void AddRecording(CLI::App& app, RawOptions& raw) {
  CLI::Option* const record = Text(app, "Recording", "--record", raw.recording.file, "FILE",
                                   "Record live requests and their answers, for `recpile replay`");
  Text(app, "Recording", "--record-share", raw.recording.share, "SHARE [0.01]", "Of the requests, up to 1")
      ->needs(record);
  Number(app, "Recording", "--record-max-bytes", raw.recording.max_bytes, 1024, int64_t{1} << 50, "Then it ends")
      ->needs(record);
}

void AddProcess(CLI::App& app, CommandLine& options, RawOptions& raw) {
  Number(app, "Process", "--grace-seconds", raw.grace_seconds, 0, kDaySeconds, "How long a shutdown may take");
  Choice(app, "Process", "--log-level", options.log_level, {"debug", "info", "warn", "error", "off"},
         "Logs go to stderr");
  Choice(app, "Process", "--log-format", raw.log_format, {"text", "json"}, "One line an event, or one JSON object");
  app.add_flag("--log-requests", options.log_requests, "Log every infer request: id, status, time, trace")
      ->group("Process");
  Text(app, "Process", "--trace-out", raw.trace_out, "FILE",
       "Write requests, batches and stages to this file, for chrome://tracing or Perfetto");
  Number(app, "Process", "--trace-out-megabytes", raw.trace_out_megabytes, 1, 1 << 20, "Where that file ends");
  Text(app, "Process", "--otlp-endpoint", raw.otlp_endpoint, "URL",
       "Send a span for each request to this OpenTelemetry collector: http://HOST[:4318]");
  app.add_option("--otlp-sample-ratio", options.otlp_sample_ratio,
                 "How many of the requests that come without a traceparent get one; others say so themselves")
      ->check(CLI::Range(0.0, 1.0))
      ->option_text("0..1 [1]")
      ->group("Process");
  app.add_flag("--exit-with-parent", options.exit_with_parent,
               "Shut down when the thread that started the server ends (Linux; for tests and demos)")
      ->group("Process");
}

}  // namespace

std::variant<CommandLine, int> ParseCommandLine(int argc, char** argv) {
  CommandLine options;
  RawOptions raw;
  CLI::App app("Serves recpile artifacts over KServe v2 (Open Inference Protocol), HTTP and gRPC.", "recpile-server");
  app.footer(
      "Once ready, one line on stdout says so:\n"
      "  recpile-server ready: http=http://HOST:PORT grpc=HOST:PORT metrics=HOST:PORT models=NAME:VERSION,...\n"
      "SIGTERM or SIGINT answers what was read and exits 0; a second one exits at once.\n"
      "Exit codes: 1 shutdown took longer than the grace period, 2 bad option or artifact, 3 port not available.\n"
      "An artifact contains compiled code that is run on loading: serve only what you built or trust.");
  app.get_formatter()->column_width(44);
  app.set_version_flag("--version", "recpile-server " RECPILE_VERSION);
  app.set_config("--config", "", "YAML: these options by their long names; the command line overrides it")
      ->option_text("FILE");
  app.config_formatter(std::make_shared<YamlConfig>());
  app.allow_config_extras(CLI::config_extras_mode::error);

  app.add_option("artifact", options.artifact, "The artifact (.pt2) that `recpile export` wrote")->option_text("FILE");
  AddModels(app, options, raw);
  AddBatching(app, options.engine, raw);
  AddNetwork(app, options, raw);
  AddRecording(app, raw);
  AddProcess(app, options, raw);
  try {
    app.parse(argc, argv);
    if (const std::string mistake = Mistake(options, raw); !mistake.empty()) throw CLI::ValidationError(mistake);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  Finish(raw, &options);
  return options;
}

}  // namespace recpile
