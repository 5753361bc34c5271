#include "engine_model.h"

#include <spdlog/fmt/fmt.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <map>
#include <utility>

namespace recpile {
namespace {

// "instances=2 (2: 20,100 candidates/s; 1: 10,400)"
std::string Instances(const Engine& engine) {
  std::string text = "instances=" + std::to_string(engine.options().instances);
  if (engine.instance_trials().size() < 2) return text;
  text += " (measured side by side:";
  for (const InstanceTrial& trial : engine.instance_trials()) {
    text += fmt::format("{} {} do {:.0f} candidates/s", &trial == &engine.instance_trials().front() ? "" : ",",
                        trial.instances, trial.candidates_per_second);
  }
  return text + ")";
}

void LogModel(const ModelInfo& model, const Engine& loaded, std::chrono::milliseconds took) {
  const EngineOptions& engine = loaded.options();
  const std::string label = model.name + " version " + model.version;
  spdlog::info("{}: loaded in {} ms; {} inputs, {} outputs, {} stages", label, took.count(), model.inputs.size(),
               model.outputs.size(), model.stages.size());
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
    spdlog::info("{}: {} tables in {}, {} rows, {:.1f} MiB", label, sum.tables, dtype, sum.rows,
                 static_cast<double>(sum.bytes) / (1 << 20));
  }
  spdlog::info("{}: table memory {}", label, loaded.table_memory());
  spdlog::info("{}: {} pin={} max_batch_size={} max_queue_delay_microseconds={} max_queue_size={} priority_levels={}",
               label, Instances(loaded), engine.pin, engine.max_batch_size, engine.max_queue_delay_microseconds,
               engine.max_queue_size, engine.priority_levels);
  spdlog::info("{}: default_timeout_microseconds={} verify_checksums={} fbgemm_dir={}", label,
               engine.default_timeout_microseconds, engine.verify_checksums,
               engine.fbgemm_dir.empty() ? "(beside libtorch)" : engine.fbgemm_dir);
}

void StopAndDelete(Engine* engine, const std::string& label) {
  engine->Stop();
  const EngineStats stats = engine->stats();
  spdlog::info("{}: stopped; {} requests answered, {} failed, {} refused, {} samples in {} batches", label,
               stats.requests_ok, stats.requests_failed, stats.requests_rejected, stats.samples, stats.batches);
  delete engine;
}

}  // namespace

Result<serving::ModelPtr> LoadEngineModel(const std::filesystem::path& artifact, const std::string& name,
                                          const std::string& version, const EngineOptions& options,
                                          serving::Worker* reaper) {
  spdlog::info("loading {}", artifact.string());
  const auto begin = serving::Clock::now();
  RECPILE_ASSIGN_OR_RETURN(std::unique_ptr<Engine> loaded, Engine::Load(artifact.string(), options));
  ModelInfo info = loaded->model();
  if (!name.empty()) info.name = name;
  if (!version.empty()) info.version = version;
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(serving::Clock::now() - begin);
  LogModel(info, *loaded, took);

  const std::string label = info.name + " version " + info.version;
  const std::shared_ptr<Engine> engine(
      loaded.release(), [reaper, label](Engine* last) { reaper->Post([last, label] { StopAndDelete(last, label); }); });
  return std::make_shared<const serving::ServedModel>(serving::ServedModel{
      .info = std::move(info),
      .submit = [engine](InferRequest request,
                         InferCallback done) { return engine->Submit(std::move(request), std::move(done)); },
      .stats = [engine] { return engine->stats(); },
      .room = [engine] { return engine->CheckRoom(); },
      .time = [engine](const InferRequest& request) { return engine->CheckTime(request); },
      .queued = [engine] { return engine->queued(); },
      .hold_nothing_back = [engine] { engine->HoldNothingBack(); },
      .instances = engine->options().instances,
  });
}

}  // namespace recpile
