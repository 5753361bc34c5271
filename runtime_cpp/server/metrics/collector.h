// What Prometheus reads: Triton's names with our prefix. docs/serving.md lists them.
#pragma once

#include <prometheus/collectable.h>

#include <vector>

#include "serving/models.h"
#include "serving/span_counts.h"

namespace recpile::metrics {

// Reads the models' own counters when asked, so that serving pays nothing for it and a model that is unloaded is gone.
class Collector : public prometheus::Collectable {
 public:
  // Both must outlive the collector; `spans` may be null.
  Collector(const serving::Models* models, const serving::SpanCounts* spans) : models_(models), spans_(spans) {}

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const serving::Models* const models_;
  const serving::SpanCounts* const spans_;
};

}  // namespace recpile::metrics
