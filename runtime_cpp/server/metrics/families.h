// What is exported of all models, as it is put together.
#pragma once

#include <prometheus/metric_family.h>

#include <string>
#include <utility>
#include <vector>

#include "serving/served_model.h"

namespace recpile::metrics {

// One model while it is read: its engine's counters are read once, so that they fit together.
struct Sample {
  const serving::ServedModel& model;
  EngineStats stats;
};

// A metric of one model, with its name and version and `more` as labels.
inline prometheus::ClientMetric Labelled(const Sample& sample,
                                         const std::vector<std::pair<std::string, std::string>>& more = {}) {
  prometheus::ClientMetric metric;
  metric.label.push_back({"model", sample.model.info.name});
  metric.label.push_back({"version", sample.model.info.version});
  for (const auto& [name, value] : more) metric.label.push_back({name, value});
  return metric;
}

// The engine's histogram as Prometheus has it: cumulative, with the bounds written out.
inline prometheus::ClientMetric::Histogram ToPrometheus(const Histogram& histogram) {
  prometheus::ClientMetric::Histogram out;
  out.sample_sum = histogram.sum;
  double bound = 1;
  for (size_t i = 0; i + 1 < histogram.counts.size(); ++i, bound *= 2) {
    out.sample_count += histogram.counts[i];
    out.bucket.push_back({.cumulative_count = out.sample_count, .upper_bound = bound});
  }
  if (!histogram.counts.empty()) out.sample_count += histogram.counts.back();
  return out;
}

class Families {
 public:
  explicit Families(const std::vector<Sample>& samples) : samples_(samples) {}

  // `read(sample)` gives the value for each model.
  template <typename Read>
  void Counter(const char* name, const char* help, Read read) {
    Custom(name, help, prometheus::MetricType::Counter, [&](const Sample& sample, prometheus::MetricFamily* family) {
      family->metric.push_back(Labelled(sample));
      family->metric.back().counter.value = static_cast<double>(read(sample));
    });
  }
  template <typename Read>
  void Gauge(const char* name, const char* help, Read read) {
    Custom(name, help, prometheus::MetricType::Gauge, [&](const Sample& sample, prometheus::MetricFamily* family) {
      family->metric.push_back(Labelled(sample));
      family->metric.back().gauge.value = static_cast<double>(read(sample));
    });
  }
  // One of the engine's.
  void Distribution(const char* name, const char* help, Histogram EngineStats::* which) {
    Custom(name, help, prometheus::MetricType::Histogram, [&](const Sample& sample, prometheus::MetricFamily* family) {
      family->metric.push_back(Labelled(sample));
      family->metric.back().histogram = ToPrometheus(sample.stats.*which);
    });
  }
  // `fill(sample, family)` adds the metrics of each model.
  template <typename Fill>
  void Custom(const char* name, const char* help, prometheus::MetricType type, Fill fill) {
    families_.push_back({.name = std::string("recpile_") + name, .help = help, .type = type, .metric = {}});
    for (const Sample& sample : samples_) fill(sample, &families_.back());
  }

  std::vector<prometheus::MetricFamily> Take() { return std::move(families_); }

 private:
  const std::vector<Sample>& samples_;
  std::vector<prometheus::MetricFamily> families_;
};

}  // namespace recpile::metrics
