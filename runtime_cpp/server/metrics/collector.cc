#include "metrics/collector.h"

#include <chrono>
#include <string>

#include "metrics/families.h"

namespace recpile::metrics {
namespace {

using prometheus::MetricFamily;
using prometheus::MetricType;

double Micro(uint64_t ns) { return static_cast<double>(ns) / 1000; }

void AddRequests(Families* families) {
  families->Counter("inference_request_success", "Requests answered",
                    [](const Sample& one) { return one.model.meter->successes(); });
  families->Custom("inference_request_failure", "Requests refused or failed, by reason", MetricType::Counter,
                   [](const Sample& one, MetricFamily* family) {
                     for (const serving::FailureReason reason : serving::kFailureReasons) {
                       const std::string name(serving::FailureReasonName(reason));
                       family->metric.push_back(Labelled(one, {{"reason", name}}));
                       family->metric.back().counter.value = static_cast<double>(one.model.meter->failures(reason));
                     }
                   });
  families->Counter("inference_shed_count", "Requests refused for lack of room or time",
                    [](const Sample& one) { return one.stats.requests_shed; });
  families->Counter("inference_expired_count", "Accepted requests whose timeout passed, or would have",
                    [](const Sample& one) { return one.stats.requests_expired; });
  families->Counter("inference_partial_count", "Requests answered for their first candidates only, for lack of time",
                    [](const Sample& one) { return one.stats.requests_partial; });
  families->Gauge("inference_pending_request_count", "Requests that wait for an instance",
                  [](const Sample& one) { return one.stats.queued; });
}

void AddBatches(Families* families) {
  families->Counter("inference_count", "Candidates answered", [](const Sample& one) { return one.stats.samples; });
  families->Counter("inference_exec_count", "Batches run", [](const Sample& one) { return one.stats.batches; });
  families->Counter("inference_padded_count", "Candidates that batches were padded with",
                    [](const Sample& one) { return one.stats.padded_rows; });
  families->Distribution("inference_batch_size", "Candidates in a batch, without padding", &EngineStats::batch_size);
}

void AddTimes(Families* families) {
  families->Counter("inference_request_duration_us", "From a request's last byte to its answer, of successful requests",
                    [](const Sample& one) { return Micro(one.model.meter->success_ns()); });
  families->Counter("inference_queue_duration_us", "Waiting for an instance, summed over requests",
                    [](const Sample& one) { return Micro(one.stats.queue_ns); });
  families->Counter("inference_compute_input_duration_us", "Joining the requests of a batch, summed over batches",
                    [](const Sample& one) { return one.stats.coalesce_us.sum; });
  families->Counter("inference_compute_infer_duration_us", "Running the stages, summed over batches",
                    [](const Sample& one) { return one.stats.infer_us.sum; });
  families->Counter("inference_compute_output_duration_us", "Cutting the outputs of a batch, summed over batches",
                    [](const Sample& one) { return one.stats.split_us.sum; });
  families->Custom("inference_request_histogram_us", "Distribution of inference_request_duration_us",
                   MetricType::Histogram, [](const Sample& one, MetricFamily* family) {
                     family->metric.push_back(Labelled(one));
                     family->metric.back().histogram = one.model.meter->durations_us().Collect().histogram;
                   });
  families->Distribution("inference_queue_histogram_us", "Waiting for an instance, a request", &EngineStats::queue_us);
  families->Distribution("inference_compute_input_histogram_us", "Joining the requests, a batch",
                         &EngineStats::coalesce_us);
  families->Distribution("inference_compute_infer_histogram_us", "Running the stages, a batch", &EngineStats::infer_us);
  families->Distribution("inference_compute_output_histogram_us", "Cutting the outputs, a batch",
                         &EngineStats::split_us);
  families->Custom("inference_stage_histogram_us", "Running one stage, a batch", MetricType::Histogram,
                   [](const Sample& one, MetricFamily* family) {
                     for (const StageStats& stage : one.stats.stages) {
                       family->metric.push_back(Labelled(one, {{"stage", stage.name}, {"kind", stage.kind}}));
                       family->metric.back().histogram = ToPrometheus(stage.duration_us);
                     }
                   });
}

void AddModels(Families* families) {
  families->Gauge(
      "model_loaded_timestamp_seconds", "When this version was loaded, in Unix time",
      [](const Sample& one) { return std::chrono::duration<double>(one.model.loaded_at.time_since_epoch()).count(); });
  families->Gauge("model_age_seconds", "Since this version was loaded", [](const Sample& one) {
    return std::chrono::duration<double>(std::chrono::system_clock::now() - one.model.loaded_at).count();
  });
}

// One counter a table.
void AddTableCounter(Families* families, const char* name, const char* help, uint64_t TableStats::* which) {
  families->Custom(name, help, MetricType::Counter, [which](const Sample& one, MetricFamily* family) {
    for (const TableStats& table : one.stats.tables) {
      family->metric.push_back(Labelled(one, {{"table", table.name}}));
      family->metric.back().counter.value = static_cast<double>(table.*which);
    }
  });
}

void AddTables(Families* families) {
  families->Custom("table_bytes", "Size of an embedding table", MetricType::Gauge,
                   [](const Sample& one, MetricFamily* family) {
                     for (const TableInfo& table : one.model.info.tables) {
                       family->metric.push_back(Labelled(one, {{"table", table.name}, {"dtype", table.dtype}}));
                       family->metric.back().gauge.value = static_cast<double>(table.bytes);
                     }
                   });
  AddTableCounter(families, "table_lookup_count", "Ids looked up in a table", &TableStats::lookups);
  AddTableCounter(families, "table_out_of_range_count", "Ids that a table does not have", &TableStats::out_of_range);
}

// Of no model.
MetricFamily OfServer(MetricType type, const char* name, const char* help, uint64_t value) {
  MetricFamily family{.name = std::string("recpile_") + name, .help = help, .type = type, .metric = {{}}};
  (type == MetricType::Counter ? family.metric[0].counter.value : family.metric[0].gauge.value) =
      static_cast<double>(value);
  return family;
}

}  // namespace

std::vector<MetricFamily> Collector::Collect() const {
  const std::vector<serving::ModelPtr> models = models_->List();
  std::vector<Sample> samples;
  for (const serving::ModelPtr& model : models) samples.push_back({*model, model->stats()});
  Families families(samples);
  AddRequests(&families);
  AddBatches(&families);
  AddTimes(&families);
  AddModels(&families);
  AddTables(&families);
  std::vector<MetricFamily> all = families.Take();
  if (spans_ != nullptr) {
    const auto add = [&all](const char* name, const char* help, uint64_t value) {
      all.push_back(OfServer(MetricType::Counter, name, help, value));
    };
    add("otlp_exported_count", "Requests whose spans a collector took", spans_->exported);
    add("otlp_dropped_count", "Requests whose spans found no room, or were refused", spans_->dropped);
  }
  if (budget_ != nullptr) {
    all.push_back(OfServer(MetricType::Gauge, "pending_bytes", "Of requests that are not answered", budget_->held()));
    all.push_back(OfServer(MetricType::Gauge, "pending_bytes_limit", "How many there may be", budget_->limit()));
  }
  return all;
}

}  // namespace recpile::metrics
