// The command line of recpile-server, and its configuration file.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "http/server.h"
#include "metrics/options.h"
#include "recording/options.h"
#include "recpile/engine.h"
#include "rpc/options.h"
#include "serving/repository.h"
#include "tracing/otlp_exporter.h"
#include "tracing/trace_file.h"

namespace recpile {

enum class LogFormat { kText, kJson };

struct CommandLine {
  // Exactly one of these two.
  std::string artifact;
  std::optional<serving::RepositoryOptions> repository;

  std::string model_name;                  // of the artifact; empty: the manifest's
  std::vector<std::string> load_at_start;  // from the repository; empty: all, or none if clients load

  EngineOptions engine;
  // Each may be off.
  std::optional<http::ServerOptions> http = http::ServerOptions();
  std::optional<rpc::ServerOptions> grpc = rpc::ServerOptions();
  std::optional<metrics::ServerOptions> metrics = metrics::ServerOptions();

  uint64_t max_pending_bytes = 0;  // of requests, over both protocols, until they are answered; 0: what memory allows

  bool shared_memory = false;
  std::optional<recording::RecordingOptions> recording;

  // EngineOptions::load_nice of what is loaded while the server serves; what it loads before may have all cores.
  int load_nice = 19;

  std::chrono::seconds grace{30};
  std::string log_level = "info";
  LogFormat log_format = LogFormat::kText;
  bool log_requests = false;
  std::optional<tracing::TraceFileOptions> trace_file;
  std::optional<tracing::OtlpOptions> otlp;
  double otlp_sample_ratio = 1;
  bool exit_with_parent = false;
};

// The options, or the process's exit code: 0 after --help or --version, 2 after a mistake. What there is to say has
// then been printed.
std::variant<CommandLine, int> ParseCommandLine(int argc, char** argv);

}  // namespace recpile
