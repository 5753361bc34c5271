// recpile-server: loads one artifact and serves it until it is told to stop.
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <variant>

#include "http/server.h"
#include "options.h"
#include "recpile/engine.h"
#include "signals.h"

namespace recpile {
namespace {

constexpr int kExitCutOff = 1;
constexpr int kExitBadInput = 2;
constexpr int kExitPort = 3;

void LogModel(const ModelInfo& model) {
  spdlog::info("model {} version {}: {} inputs, {} outputs", model.name, model.version, model.inputs.size(),
               model.outputs.size());
  for (const StageInfo& stage : model.stages) spdlog::info("stage {} ({})", stage.name, stage.kind);
  struct Sum {
    int64_t tables = 0, rows = 0, bytes = 0;
  };
  std::map<std::string, Sum> by_dtype;
  for (const TableInfo& table : model.tables) {
    spdlog::debug("table {}: {} rows x {} {}, {} bytes", table.name, table.rows, table.dim, table.dtype, table.bytes);
    Sum& sum = by_dtype[table.dtype];
    ++sum.tables;
    sum.rows += table.rows;
    sum.bytes += table.bytes;
  }
  for (const auto& [dtype, sum] : by_dtype) {
    spdlog::info("tables: {} in {}, {} rows, {:.1f} MiB", sum.tables, dtype, sum.rows,
                 static_cast<double>(sum.bytes) / (1 << 20));
  }
}

void LogOptions(const CommandLine& options, const EngineOptions& engine) {
  spdlog::info(
      "engine: instances={} max_batch_size={} max_queue_delay_microseconds={} max_queue_size={} "
      "verify_checksums={} fbgemm_dir={}",
      engine.instances, engine.max_batch_size, engine.max_queue_delay_microseconds, engine.max_queue_size,
      engine.verify_checksums, engine.fbgemm_dir.empty() ? "(beside libtorch)" : engine.fbgemm_dir);
  spdlog::info("http: io_threads={} max_request_bytes={} request_timeout_seconds={} grace_seconds={}",
               options.http.io_threads, options.http.max_request_bytes, options.http.timeout.count() / 1000,
               options.grace.count());
}

int Fail(int code, const Status& status) {
  spdlog::critical("{}", status.message());
  return code;
}

int Serve(const CommandLine& options) {
  // The port first: that it is taken should not show only after minutes of loading.
  auto server = http::Server::Bind(options.http);
  if (!server.ok()) {
    return Fail(server.status().code() == StatusCode::kUnavailable ? kExitPort : kExitBadInput, server.status());
  }
  spdlog::info("loading {}", options.artifact);
  auto loaded = Engine::Load(options.artifact, options.engine);
  if (!loaded.ok()) return Fail(kExitBadInput, loaded.status());
  Engine& engine = *loaded.value();

  http::Backend backend{
      .model = engine.model(),
      .submit = [&engine](InferRequest request,
                          InferCallback done) { return engine.Submit(std::move(request), std::move(done)); },
      .stats = [&engine] { return engine.stats(); },
  };
  if (!options.model_name.empty()) backend.model.name = options.model_name;
  LogModel(backend.model);
  LogOptions(options, engine.options());
  const std::string name = backend.model.name;
  const std::string version = backend.model.version;
  if (Status status = server.value()->Serve(std::move(backend)); !status.ok()) return Fail(kExitPort, status);
  std::printf("recpile-server ready: %s model=%s version=%s\n", server.value()->url().c_str(), name.c_str(),
              version.c_str());
  std::fflush(stdout);

  const int signal = WaitForShutdownSignal();
  spdlog::info("signal {}: shutting down; a second one exits at once", signal);
  server.value()->BeginDrain();
  if (!server.value()->AwaitDrained(options.grace)) {
    spdlog::error("not every request was answered within the grace period of {} s", options.grace.count());
    spdlog::default_logger()->flush();
    // The engine may be busy for long yet, for nobody.
    std::_Exit(kExitCutOff);
  }
  engine.Stop();
  const EngineStats stats = engine.stats();
  spdlog::info("stopped: {} requests answered, {} failed, {} refused, {} samples in {} batches", stats.requests_ok,
               stats.requests_failed, stats.requests_rejected, stats.samples, stats.batches);
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace recpile

int main(int argc, char** argv) {
  auto parsed = recpile::ParseCommandLine(argc, argv);
  if (const int* exit_code = std::get_if<int>(&parsed)) return *exit_code;
  const auto& options = std::get<recpile::CommandLine>(parsed);
  spdlog::set_default_logger(spdlog::stderr_color_mt("recpile"));
  spdlog::set_level(spdlog::level::from_str(options.log_level));
  if (options.exit_with_parent && !recpile::ExitWithParent()) {
    spdlog::warn("--exit-with-parent is not possible on this system");
  }
  recpile::InstallShutdownSignals();
  return recpile::Serve(options);
}
