// recpile-server: loads artifacts and serves them until it is told to stop.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "allocator.h"
#include "base/cores.h"
#include "base/memory.h"
#include "base/priority.h"
#include "engine_model.h"
#include "file_limit.h"
#include "front_door.h"
#include "logging.h"
#include "options.h"
#include "recording/recorder.h"
#include "serving/context.h"
#include "signals.h"
#include "tracing/tracing.h"

namespace recpile {
namespace {

constexpr int kExitCutOff = 1;
constexpr int kExitBadInput = 2;
constexpr int kExitPort = 3;

int Fail(int code, const Status& status) {
  spdlog::critical("{}", status.message());
  return code;
}

// Says so if `fresh` and what is served beside it have more instances than there are cores.
void WarnOfTooManyInstances(const serving::Models& models, const serving::ServedModel& fresh, bool versions_stay) {
  int instances = fresh.instances, others = 0;
  for (const serving::ModelPtr& model : models.List()) {
    const bool replaced =
        model->info.name == fresh.info.name && (!versions_stay || model->info.version == fresh.info.version);
    if (replaced) continue;
    instances += model->instances;
    ++others;
  }
  if (others == 0 || instances <= AvailableCores()) return;
  spdlog::warn(
      "{} version {} and {} others have {} instances on {} cores: when several are busy at once their batches take "
      "turns; divide the cores among them with --instances",
      fresh.info.name, fresh.info.version, others, instances, AvailableCores());
}

serving::ModelPtr Watched(recording::Recorder* recorder, serving::ModelPtr model) {
  return recorder == nullptr ? model : recorder->Watch(model);
}

// Loads what is to be there from the first request on.
Status LoadAtStart(const CommandLine& options, serving::Models* models, serving::Repository* repository,
                   recording::Recorder* recorder, serving::Worker* reaper) {
  if (repository == nullptr) {
    RECPILE_ASSIGN_OR_RETURN(serving::ModelPtr model,
                             LoadEngineModel(options.artifact, options.model_name, "", options.engine, reaper));
    const std::string name = model->info.name;
    models->Publish(name, {Watched(recorder, std::move(model))});
    return Status();
  }
  if (options.load_at_start.empty() && options.repository->control) return Status();
  const bool all = options.load_at_start == std::vector<std::string>{"*"};
  return repository->LoadAll(all ? std::vector<std::string>() : options.load_at_start);
}

std::string Served(const serving::Models& models) {
  std::string text;
  for (const serving::ModelPtr& model : models.List()) {
    text += (text.empty() ? "" : ",") + model->info.name + ":" + model->info.version;
  }
  return text;
}

// A quarter of the memory that the models have left, if nobody says how many. Where the kernel does not tell how much
// that is: 1 GiB.
uint64_t PendingBytes(const CommandLine& options, uint64_t max_request_bytes) {
  if (options.max_pending_bytes > 0) return options.max_pending_bytes;
  const uint64_t available = AvailableMemory();
  return std::max(available == 0 ? uint64_t{1} << 30 : available / 4, 2 * max_request_bytes);
}

int Serve(CommandLine options) {
  const uint64_t limit = options.http ? options.http->max_request_bytes : options.grpc->max_request_bytes;
  // Destroyed in the opposite order: the ports go first, then the models, and the reaper stops their engines, whose
  // last answers are recorded and traced, and give back what their requests held.
  std::optional<serving::ByteBudget> budget;
  std::unique_ptr<tracing::Tracing> tracing;
  if (auto begun = tracing::Tracing::Begin(options.trace_file, options.otlp, options.otlp_sample_ratio); begun.ok()) {
    tracing = std::move(begun).value();
  } else {
    return Fail(kExitBadInput, begun.status());
  }
  options.engine.on_batch = tracing->OnBatch();
  std::unique_ptr<recording::Recorder> recorder;
  if (options.recording) {
    auto opened = recording::Recorder::Open(*options.recording);
    if (!opened.ok()) return Fail(kExitBadInput, opened.status());
    recorder = std::move(opened).value();
  }
  serving::Worker reaper;
  reaper.Post([&options] { LowerThreadPriority(options.load_nice); });
  serving::Models models;
  std::unique_ptr<serving::Repository> repository;
  serving::SharedMemory memory(limit);
  FrontDoor door;
  std::atomic<bool> open = false;
  if (const Status bound = door.Bind(options); !bound.ok()) {
    return Fail(bound.code() == StatusCode::kUnavailable ? kExitPort : kExitBadInput, bound);
  }
  if (options.repository) {
    repository = std::make_unique<serving::Repository>(
        *options.repository, &models, [&](const std::string& name, const serving::ArtifactFile& file) {
          EngineOptions engine = options.engine;
          if (open) engine.load_nice = options.load_nice;
          // A trial beside what is being served would measure that too; the version before had its own.
          const auto before = models.Find(name, "");
          if (engine.instances == 0 && before.ok()) engine.instances = before.value()->instances;
          auto loaded = LoadEngineModel(file.path, name, file.version, engine, &reaper);
          const bool versions_stay = options.repository->versions == serving::VersionPolicy::kAll;
          if (!loaded.ok()) return loaded;
          WarnOfTooManyInstances(models, *loaded.value(), versions_stay);
          return Result<serving::ModelPtr>(Watched(recorder.get(), std::move(loaded).value()));
        });
  }
  if (const Status loaded = LoadAtStart(options, &models, repository.get(), recorder.get(), &reaper); !loaded.ok()) {
    return Fail(kExitBadInput, loaded);
  }
  budget.emplace(PendingBytes(options, limit));
  spdlog::info("requests may hold {} MiB at once (--max-pending-bytes)", budget->limit() >> 20);
  const Status serving = door.Serve({.models = &models,
                                     .repository = repository.get(),
                                     .memory = options.shared_memory ? &memory : nullptr,
                                     .budget = &*budget,
                                     .server_version = RECPILE_VERSION,
                                     .log = tracing->OnRequest(RequestLog(options)),
                                     .trace = tracing->on(),
                                     .span_counts = tracing->span_counts()});
  if (!serving.ok()) return Fail(kExitPort, serving);
  open = true;
  // Before anyone may know that the server is there to be stopped.
  ShutDownGracefully();
  std::printf("recpile-server ready:%s models=%s\n", door.Addresses().c_str(), Served(models).c_str());
  std::fflush(stdout);

  const int signal = WaitForShutdownSignal();
  spdlog::info("signal {}: shutting down; a second one exits at once", signal);
  models.HoldNothingBack();
  if (!door.Drain(options.grace)) {
    spdlog::error("not every request was answered within the grace period of {} s", options.grace.count());
    spdlog::default_logger()->flush();
    // The engines may be busy for long yet, for nobody.
    std::_Exit(kExitCutOff);
  }
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace recpile

int main(int argc, char** argv) {
  auto parsed = recpile::ParseCommandLine(argc, argv);
  if (const int* exit_code = std::get_if<int>(&parsed)) return *exit_code;
  const auto& options = std::get<recpile::CommandLine>(parsed);
  recpile::SetUpLog(options);
  if (options.exit_with_parent && !recpile::ExitWithParent()) {
    spdlog::warn("--exit-with-parent is not possible on this system");
  }
  recpile::KeepFreedMemory();
  recpile::RaiseFileLimit();
  recpile::InstallShutdownSignals();
  return recpile::Serve(options);
}
