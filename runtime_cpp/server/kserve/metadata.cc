#include "kserve/metadata.h"

#include <algorithm>

#include "kserve/datatypes.h"
#include "kserve/json_text.h"

namespace recpile::kserve {
namespace {

// Bodies read in the order in which the protocol's documents list the fields.

std::vector<JsonText> TensorsMetadata(const std::vector<TensorSpec>& specs) {
  std::vector<JsonText> tensors;
  for (const TensorSpec& spec : specs) {
    tensors.push_back({{"name", spec.name}, {"datatype", DatatypeName(spec.dtype)}, {"shape", spec.shape}});
  }
  return tensors;
}

std::vector<JsonText> TensorsConfig(const std::vector<TensorSpec>& specs) {
  std::vector<JsonText> tensors;
  for (const TensorSpec& spec : specs) {
    tensors.push_back({{"name", spec.name}, {"data_type", ConfigTypeName(spec.dtype)}, {"dims", spec.shape}});
  }
  return tensors;
}

JsonText Duration(uint64_t count, uint64_t ns) { return {{"count", count}, {"ns", ns}}; }
JsonText Duration(uint64_t count, const Histogram& us) { return Duration(count, static_cast<uint64_t>(us.sum * 1000)); }

JsonText ModelStats(const serving::ServedModel& model) {
  const EngineStats stats = model.stats();
  const uint64_t runs = WholeRuns(stats);
  const serving::RequestMeter& meter = *model.meter;
  const JsonText inference = {{"success", Duration(meter.successes(), meter.success_ns())},
                              {"fail", Duration(meter.failures(), meter.failure_ns())},
                              {"queue", Duration(stats.requests_ok + stats.requests_failed, stats.queue_ns)},
                              {"compute_input", Duration(runs, stats.coalesce_us)},
                              {"compute_infer", Duration(runs, stats.infer_us)},
                              {"compute_output", Duration(runs, stats.split_us)}};
  return {{"name", model.info.name},
          {"version", model.info.version},
          {"last_inference", meter.last_ms()},
          {"inference_count", stats.samples},
          {"execution_count", stats.batches},
          {"inference_stats", inference},
          {"recpile",
           {{"rejected_count", stats.requests_rejected},
            {"shed_count", stats.requests_shed},
            {"expired_count", stats.requests_expired},
            {"padded_count", stats.padded_rows},
            {"queued_count", stats.queued}}}};
}

}  // namespace

std::vector<std::string> Extensions(bool shared_memory) {
  std::vector<std::string> names = {"binary_tensor_data", "model_configuration", "model_repository", "statistics"};
  if (shared_memory) names.push_back("system_shared_memory");
  return names;
}

std::string ServerMetadataJson(std::string_view version, bool shared_memory) {
  return JsonText({{"name", "recpile"}, {"version", version}, {"extensions", Extensions(shared_memory)}}).text();
}

std::string ModelMetadataJson(const ModelInfo& model, const std::vector<serving::ModelPtr>& versions) {
  std::vector<std::string> names;
  for (const serving::ModelPtr& version : versions) names.push_back(version->info.version);
  return JsonText({{"name", model.name},
                   {"versions", names},
                   {"platform", "recpile"},
                   {"inputs", TensorsMetadata(model.inputs)},
                   {"outputs", TensorsMetadata(model.outputs)}})
      .text();
}

std::string ModelConfigJson(const ModelInfo& model) {
  // max_batch_size 0 is Triton's way to say that shapes are complete, with no batch dimension left out in front. The
  // server coalesces requests all the same.
  return JsonText({{"name", model.name},
                   {"platform", "recpile"},
                   {"backend", "recpile"},
                   {"max_batch_size", 0},
                   {"input", TensorsConfig(model.inputs)},
                   {"output", TensorsConfig(model.outputs)}})
      .text();
}

uint64_t WholeRuns(const EngineStats& stats) {
  return std::min({stats.coalesce_us.count(), stats.infer_us.count(), stats.split_us.count()});
}

std::string ModelStatsJson(const std::vector<serving::ModelPtr>& models) {
  std::vector<JsonText> entries;
  for (const serving::ModelPtr& model : models) entries.push_back(ModelStats(*model));
  return JsonText({{"model_stats", entries}}).text();
}

std::string ErrorJson(std::string_view message) { return JsonText({{"error", message}}).text(); }

}  // namespace recpile::kserve
