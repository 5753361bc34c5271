#include "options.h"

#include <CLI/CLI.hpp>
#include <cstdint>
#include <limits>
#include <utility>

namespace recpile {
namespace {

constexpr int64_t kDaySeconds = 24 * 60 * 60;
constexpr int64_t kMany = std::numeric_limits<int32_t>::max();

}  // namespace

std::variant<CommandLine, int> ParseCommandLine(int argc, char** argv) {
  CommandLine options;
  int64_t timeout_seconds = std::chrono::duration_cast<std::chrono::seconds>(options.http.timeout).count();
  int64_t grace_seconds = options.grace.count();
  bool no_verify_checksums = false;

  CLI::App app("Serves a recpile artifact over KServe v2 (Open Inference Protocol).", "recpile-server");
  app.footer(
      "Once ready, one line on stdout says so:  recpile-server ready: http://HOST:PORT model=NAME version=V\n"
      "SIGTERM or SIGINT answers what was read and exits 0; a second one exits at once.\n"
      "Exit codes: 1 shutdown took longer than the grace period, 2 bad option or artifact, 3 port not available.\n"
      "An artifact contains compiled code that is run on loading: serve only what you built or trust.");
  app.get_formatter()->column_width(44);
  app.set_version_flag("--version", "recpile-server " RECPILE_VERSION);

  app.add_option("artifact", options.artifact, "The artifact (.pt2) that `recpile export` wrote")
      ->required()
      ->option_text("FILE");
  app.add_option("--model-name", options.model_name, "Serve the model under this name [the manifest's]")
      ->option_text("NAME");
  app.add_option("--fbgemm-dir", options.engine.fbgemm_dir,
                 "Where FBGEMM's operator libraries lie [beside the libtorch in use]")
      ->option_text("DIR");
  app.add_flag("--no-verify-checksums", no_verify_checksums,
               "Load faster: do not compare entries with their checksums");

  const auto number = [&app](const char* name, auto& value, int64_t low, int64_t high, const char* text,
                             const char* group) {
    app.add_option(name, value, text)
        ->check(CLI::Range(low, high))
        ->option_text("N [" + std::to_string(value) + "]")
        ->group(group);
  };
  number("--instances", options.engine.instances, 0, 4096, "Batches that may run side by side; 0: one a core",
         "Batching");
  number("--max-batch-size", options.engine.max_batch_size, 1, kMany, "Candidates (rows) in one batch", "Batching");
  number("--max-queue-delay-microseconds", options.engine.max_queue_delay_microseconds, 0, kMany,
         "How long a request may wait for company while an instance is idle", "Batching");
  number("--max-queue-size", options.engine.max_queue_size, 1, kMany,
         "Requests that may wait; one more is refused with 503", "Batching");

  app.add_option("--host", options.http.host, "Address to listen on; 0.0.0.0: all of them")
      ->option_text("HOST [" + options.http.host + "]")
      ->group("HTTP");
  number("--http-port", options.http.port, 0, 65535, "Port to listen on; 0: any free one", "HTTP");
  number("--io-threads", options.http.io_threads, 1, 256, "Threads that read and write; the cores belong to the model",
         "HTTP");
  number("--max-request-bytes", options.http.max_request_bytes, 1024, int64_t{1} << 40,
         "A larger body is refused with 413", "HTTP");
  number("--request-timeout-seconds", timeout_seconds, 1, kDaySeconds,
         "For reading a request's header or body, idling between requests, and writing an answer", "HTTP");

  number("--grace-seconds", grace_seconds, 0, kDaySeconds, "How long a shutdown may take", "Process");
  app.add_option("--log-level", options.log_level, "debug, info, warn, error or off; logs go to stderr")
      ->check(CLI::IsMember({"debug", "info", "warn", "error", "off"}))
      ->option_text("LEVEL [" + options.log_level + "]")
      ->group("Process");
  app.add_flag("--exit-with-parent", options.exit_with_parent,
               "Shut down when the thread that started the server ends (Linux; for tests and demos)")
      ->group("Process");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  options.engine.verify_checksums = !no_verify_checksums;
  options.http.timeout = std::chrono::seconds(timeout_seconds);
  options.http.version = RECPILE_VERSION;
  options.grace = std::chrono::seconds(grace_seconds);
  return options;
}

}  // namespace recpile
