#include "metrics/collector.h"

#include <prometheus/metric_family.h>

#include <chrono>
#include <string>
#include <utility>

namespace recpile::metrics {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

// One model while it is read: its labels, and its engine's counters, read once so that they fit together.
struct Sample {
  const serving::ServedModel& model;
  EngineStats stats;
};

using Labels = std::vector<std::pair<std::string, std::string>>;

ClientMetric Labelled(const Sample& sample, const Labels& more = {}) {
  ClientMetric metric;
  metric.label.push_back({"model", sample.model.info.name});
  metric.label.push_back({"version", sample.model.info.version});
  for (const auto& [name, value] : more) metric.label.push_back({name, value});
  return metric;
}

class Families {
 public:
  explicit Families(const std::vector<Sample>& samples) : samples_(samples) {}

  // `read(sample)` gives the value for each model.
  template <typename Read>
  void Counter(const char* name, const char* help, Read read) {
    MetricFamily& family = Begin(name, help, MetricType::Counter);
    for (const Sample& sample : samples_) {
      family.metric.push_back(Labelled(sample));
      family.metric.back().counter.value = static_cast<double>(read(sample));
    }
  }
  template <typename Read>
  void Gauge(const char* name, const char* help, Read read) {
    MetricFamily& family = Begin(name, help, MetricType::Gauge);
    for (const Sample& sample : samples_) {
      family.metric.push_back(Labelled(sample));
      family.metric.back().gauge.value = static_cast<double>(read(sample));
    }
  }
  // `fill(sample, family)` adds the metrics of each model.
  template <typename Fill>
  void Custom(const char* name, const char* help, MetricType type, Fill fill) {
    MetricFamily& family = Begin(name, help, type);
    for (const Sample& sample : samples_) fill(sample, &family);
  }

  std::vector<MetricFamily> Take() { return std::move(families_); }

 private:
  MetricFamily& Begin(const char* name, const char* help, MetricType type) {
    families_.push_back({.name = std::string("recpile_") + name, .help = help, .type = type, .metric = {}});
    return families_.back();
  }

  const std::vector<Sample>& samples_;
  std::vector<MetricFamily> families_;
};

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
  families->Counter("inference_count", "Candidates answered", [](const Sample& one) { return one.stats.samples; });
  families->Counter("inference_exec_count", "Batches run", [](const Sample& one) { return one.stats.batches; });
  families->Counter("inference_expired_count", "Accepted requests whose timeout passed, or would have",
                    [](const Sample& one) { return one.stats.requests_expired; });
  families->Gauge("inference_pending_request_count", "Requests that wait for an instance",
                  [](const Sample& one) { return one.stats.queued; });
}

void AddTimes(Families* families) {
  families->Counter("inference_request_duration_us", "From a request's last byte to its answer, of successful requests",
                    [](const Sample& one) { return Micro(one.model.meter->success_ns()); });
  families->Counter("inference_queue_duration_us", "Waiting for an instance, summed over requests",
                    [](const Sample& one) { return Micro(one.stats.queue_ns); });
  families->Counter("inference_compute_infer_duration_us",
                    "Assembling a batch, running its stages and splitting its outputs, summed over batches",
                    [](const Sample& one) { return Micro(one.stats.compute_ns); });
  families->Custom("inference_request_histogram_us", "Distribution of inference_request_duration_us",
                   MetricType::Histogram, [](const Sample& one, MetricFamily* family) {
                     family->metric.push_back(Labelled(one));
                     family->metric.back().histogram = one.model.meter->durations_us().Collect().histogram;
                   });
}

void AddModels(Families* families) {
  families->Gauge(
      "model_loaded_timestamp_seconds", "When this version was loaded, in Unix time",
      [](const Sample& one) { return std::chrono::duration<double>(one.model.loaded_at.time_since_epoch()).count(); });
  families->Custom("table_bytes", "Size of an embedding table", MetricType::Gauge,
                   [](const Sample& one, MetricFamily* family) {
                     for (const TableInfo& table : one.model.info.tables) {
                       family->metric.push_back(Labelled(one, {{"table", table.name}, {"dtype", table.dtype}}));
                       family->metric.back().gauge.value = static_cast<double>(table.bytes);
                     }
                   });
}

}  // namespace

std::vector<MetricFamily> Collector::Collect() const {
  const std::vector<serving::ModelPtr> models = models_->List();
  std::vector<Sample> samples;
  for (const serving::ModelPtr& model : models) samples.push_back({*model, model->stats()});
  Families families(samples);
  AddRequests(&families);
  AddTimes(&families);
  AddModels(&families);
  return families.Take();
}

}  // namespace recpile::metrics
