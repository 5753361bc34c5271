#include "engine/counters.h"

#include <algorithm>
#include <bit>

namespace recpile {

void HistogramCounter::AddTo(int64_t bucket_value, int64_t value) {
  // The smallest i with value <= 2^i.
  const auto above = static_cast<uint64_t>(std::max<int64_t>(bucket_value, 1) - 1);
  ++counts_[std::min<size_t>(static_cast<size_t>(std::bit_width(above)), kBuckets - 1)];
  sum_ += value;
}

Histogram HistogramCounter::Read(double scale) const {
  return {{counts_.begin(), counts_.end()}, static_cast<double>(sum_) * scale};
}

EngineStats ReadStats(const Counters& counters, const ModelInfo& model) {
  EngineStats stats;
  stats.requests_ok = counters.requests_ok;
  stats.requests_partial = counters.requests_partial;
  stats.requests_failed = counters.requests_failed;
  stats.requests_rejected = counters.requests_rejected;
  stats.requests_shed = counters.requests_shed;
  stats.requests_expired = counters.requests_expired;
  stats.requests_canceled = counters.requests_canceled;
  stats.samples = counters.samples;
  stats.batches = counters.batches;
  stats.queue_ns = counters.queue_ns;
  stats.compute_ns = counters.compute_ns;
  stats.padded_rows = counters.padded_rows;
  stats.queue_us = counters.queue.ReadMicroseconds();
  stats.coalesce_us = counters.coalesce.ReadMicroseconds();
  stats.infer_us = counters.infer.ReadMicroseconds();
  stats.split_us = counters.split.ReadMicroseconds();
  stats.batch_size = counters.batch_size.Read();
  for (size_t i = 0; i < model.stages.size(); ++i) {
    stats.stages.push_back({model.stages[i].name, model.stages[i].kind, counters.stages[i].ReadMicroseconds()});
  }
  for (size_t i = 0; i < model.tables.size(); ++i) {
    stats.tables.push_back({model.tables[i].name, counters.tables[i].lookups, counters.tables[i].out_of_range});
  }
  return stats;
}

}  // namespace recpile
