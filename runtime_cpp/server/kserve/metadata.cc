#include "kserve/metadata.h"

#include <algorithm>

#include "kserve/datatypes.h"
#include "nlohmann/json.hpp"

namespace recpile::kserve {
namespace {

// Ordered, so that bodies read in the order in which the protocol's documents list the fields.
using Json = nlohmann::ordered_json;

// Text that came from a client (a model's name in a path) need not be UTF-8.
std::string Dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

Json TensorsMetadata(const std::vector<TensorSpec>& specs) {
  Json tensors = Json::array();
  for (const TensorSpec& spec : specs) {
    tensors.push_back({{"name", spec.name}, {"datatype", DatatypeName(spec.dtype)}, {"shape", spec.shape}});
  }
  return tensors;
}

Json TensorsConfig(const std::vector<TensorSpec>& specs) {
  Json tensors = Json::array();
  for (const TensorSpec& spec : specs) {
    tensors.push_back({{"name", spec.name}, {"data_type", ConfigTypeName(spec.dtype)}, {"dims", spec.shape}});
  }
  return tensors;
}

Json Duration(uint64_t count, uint64_t ns) { return {{"count", count}, {"ns", ns}}; }
Json Duration(uint64_t count, const Histogram& us) { return Duration(count, static_cast<uint64_t>(us.sum * 1000)); }

Json ModelStats(const serving::ServedModel& model) {
  const EngineStats stats = model.stats();
  const uint64_t runs = WholeRuns(stats);
  const serving::RequestMeter& meter = *model.meter;
  const Json inference = {{"success", Duration(meter.successes(), meter.success_ns())},
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
  return Dump({{"name", "recpile"}, {"version", version}, {"extensions", Extensions(shared_memory)}});
}

std::string ModelMetadataJson(const ModelInfo& model, const std::vector<serving::ModelPtr>& versions) {
  Json names = Json::array();
  for (const serving::ModelPtr& version : versions) names.push_back(version->info.version);
  return Dump({{"name", model.name},
               {"versions", names},
               {"platform", "recpile"},
               {"inputs", TensorsMetadata(model.inputs)},
               {"outputs", TensorsMetadata(model.outputs)}});
}

std::string ModelConfigJson(const ModelInfo& model) {
  // max_batch_size 0 is Triton's way to say that shapes are complete, with no batch dimension left out in front. The
  // server coalesces requests all the same.
  return Dump({{"name", model.name},
               {"platform", "recpile"},
               {"backend", "recpile"},
               {"max_batch_size", 0},
               {"input", TensorsConfig(model.inputs)},
               {"output", TensorsConfig(model.outputs)}});
}

uint64_t WholeRuns(const EngineStats& stats) {
  return std::min({stats.coalesce_us.count(), stats.infer_us.count(), stats.split_us.count()});
}

std::string ModelStatsJson(const std::vector<serving::ModelPtr>& models) {
  Json entries = Json::array();
  for (const serving::ModelPtr& model : models) entries.push_back(ModelStats(*model));
  Json all;
  all["model_stats"] = std::move(entries);
  return Dump(all);
}

std::string ErrorJson(std::string_view message) {
  // Not as an object: when memory has run out, its destructor may ask for some.
  return "{\"error\":" + Dump(message) + "}";
}

}  // namespace recpile::kserve
