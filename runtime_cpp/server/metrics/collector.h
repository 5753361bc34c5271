// What Prometheus reads: Triton's names with our prefix. docs/serving.md lists them.
#pragma once

#include <prometheus/collectable.h>

#include <vector>

#include "serving/context.h"

namespace recpile::metrics {

// Reads the models' own counters when asked, so that serving pays nothing for it and a model that is unloaded is gone.
class Collector : public prometheus::Collectable {
 public:
  // What `context` points to must outlive the collector.
  explicit Collector(const serving::Context& context)
      : models_(context.models), spans_(context.span_counts), budget_(context.budget) {}

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const serving::Models* const models_;
  const serving::SpanCounts* const spans_;
  const serving::ByteBudget* const budget_;
};

}  // namespace recpile::metrics
