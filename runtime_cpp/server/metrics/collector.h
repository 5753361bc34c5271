// What Prometheus reads: Triton's names with our prefix. docs/serving.md lists them.
#pragma once

#include <prometheus/collectable.h>

#include <vector>

#include "serving/models.h"

namespace recpile::metrics {

// Reads the models' own counters when asked, so that serving pays nothing for it and a model that is unloaded is gone.
class Collector : public prometheus::Collectable {
 public:
  // `models` must outlive the collector.
  explicit Collector(const serving::Models* models) : models_(models) {}

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const serving::Models* const models_;
};

}  // namespace recpile::metrics
