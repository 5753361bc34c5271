// Sends one request over and over at fixed rates and prints a JSON line for each. benchmarks/serving/run.py drives it.
#include <CLI/CLI.hpp>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>

#include "open_loop.h"
#include "senders.h"

namespace {

std::atomic<bool> stop = false;

void WriteSamples(const std::string& path, const std::vector<recpile::benchmark::Sample>& samples) {
  std::FILE* const file = std::fopen(path.c_str(), "w");
  if (file == nullptr) return std::perror(path.c_str());
  for (const auto& [due, latency, ok] : samples) std::fprintf(file, "%.6f,%.1f,%d\n", due, latency, ok);
  std::fclose(file);
}

}  // namespace

int main(int argc, char** argv) {
  using namespace recpile;  // NOLINT: a program of one function
  std::string kind;
  std::string target;
  std::string request_file;
  std::string samples_file;
  std::vector<double> rates;
  int connections = 64;
  bool never_sleep = false;
  EngineOptions options;
  benchmark::Schedule schedule;
  CLI::App app("Open-loop load on a recpile server or engine.");
  app.add_option("kind", kind)->required()->check(CLI::IsMember({"grpc", "grpc-library", "http", "engine"}));
  app.add_option("target", target, "HOST:PORT, or an artifact")->required();
  app.add_option("request", request_file, "What to send, as bytes")->required()->check(CLI::ExistingFile);
  app.add_option("--rate", rates, "Requests a second")->required()->check(CLI::Range(1.0, 1e6));
  app.add_option("--seconds", schedule.seconds)->check(CLI::Range(0.1, 600.0));
  app.add_option("--samples", samples_file, "Write every request's time and latency to it; SIGTERM ends the load");
  app.add_option("--deadline-us", schedule.deadline_us, "Count answers within it; requests bring their own timeout");
  app.add_option("--max-outstanding", schedule.max_outstanding, "Further requests are dropped, and counted")
      ->check(CLI::Range(1, 1'000'000));
  app.add_option("--connections", connections, "HTTP")->check(CLI::Range(1, 1000));
  app.add_flag("--never-sleep", never_sleep, "Keep the core between requests, too (not with grpc-library)");
  app.add_option("--instances", options.instances, "engine");
  app.add_flag("--pin", options.pin, "engine");
  app.add_option("--max-batch-size", options.max_batch_size, "engine");
  CLI11_PARSE(app, argc, argv);

  std::ifstream file(request_file, std::ios::binary);
  const std::string request{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  std::unique_ptr<benchmark::Sender> sender;
  if (kind == "engine") {
    auto made = benchmark::MakeEngineSender(target, options, request, never_sleep);
    if (!made.ok()) {
      std::fprintf(stderr, "%s\n", made.status().message().c_str());
      return 1;
    }
    sender = std::move(made).value();
  } else if (kind == "grpc") {
    sender = benchmark::MakeGrpcSender(target, request, never_sleep);
  } else if (kind == "grpc-library") {
    sender = benchmark::MakeGrpcLibrarySender(target, request);
  } else {
    sender = benchmark::MakeHttpSender(target, request, connections, never_sleep);
  }
  benchmark::RunOpenLoop({.rate = 50, .seconds = 0.5}, *sender);  // connections, caches, first batches
  schedule.keep_samples = !samples_file.empty();
  schedule.stop = &stop;
  std::signal(SIGTERM, [](int) { stop = true; });
  for (const double rate : rates) {
    schedule.rate = rate;
    const benchmark::Outcome outcome = benchmark::RunOpenLoop(schedule, *sender);
    std::printf("%s\n", benchmark::ToJson(outcome).c_str());
    std::fflush(stdout);
    if (schedule.keep_samples) WriteSamples(samples_file, outcome.samples);
  }
  // Without taking the sender apart: the last answer has been counted, but gRPC's threads may still be on their way
  // back from telling so, and its channel's end meanwhile has aborted.
  std::_Exit(EXIT_SUCCESS);
}
