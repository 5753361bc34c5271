#include "stats.h"

#include <pybind11/stl.h>

namespace recpile {
namespace {

py::dict ToDict(const Histogram& histogram) {
  py::dict answer;
  answer["counts"] = histogram.counts;
  answer["sum"] = histogram.sum;
  return answer;
}

}  // namespace

py::dict Stats(const Engine& engine) {
  const EngineStats stats = engine.stats();
  py::dict answer;
  answer["requests_ok"] = stats.requests_ok;
  answer["requests_partial"] = stats.requests_partial;
  answer["requests_canceled"] = stats.requests_canceled;
  answer["requests_failed"] = stats.requests_failed;
  answer["requests_rejected"] = stats.requests_rejected;
  answer["requests_shed"] = stats.requests_shed;
  answer["requests_expired"] = stats.requests_expired;
  answer["samples"] = stats.samples;
  answer["batches"] = stats.batches;
  answer["queued"] = stats.queued;
  answer["queue_ns"] = stats.queue_ns;
  answer["compute_ns"] = stats.compute_ns;
  answer["padded_rows"] = stats.padded_rows;
  answer["queue_us"] = ToDict(stats.queue_us);
  answer["coalesce_us"] = ToDict(stats.coalesce_us);
  answer["infer_us"] = ToDict(stats.infer_us);
  answer["split_us"] = ToDict(stats.split_us);
  answer["batch_size"] = ToDict(stats.batch_size);
  py::dict stages;
  for (const StageStats& stage : stats.stages) stages[py::str(stage.name)] = ToDict(stage.duration_us);
  answer["stages"] = stages;
  py::dict tables;
  for (const TableStats& table : stats.tables) {
    py::dict one;
    one["lookups"] = table.lookups;
    one["out_of_range"] = table.out_of_range;
    tables[py::str(table.name)] = one;
  }
  answer["tables"] = tables;
  return answer;
}

}  // namespace recpile
