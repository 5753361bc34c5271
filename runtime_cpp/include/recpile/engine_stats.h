// What an engine has done since it was loaded.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace recpile {

// How often a quantity had which size. counts[i] of its values were at most 2^i, and above 2^(i-1); the last count is
// of those above all that. Whole units: a time of 1.2 us counts as 2.
struct Histogram {
  std::vector<uint64_t> counts;
  double sum = 0;  // of the values as they were

  uint64_t count() const {
    uint64_t all = 0;
    for (const uint64_t one : counts) all += one;
    return all;
  }
};

struct StageStats {
  std::string name;
  std::string kind;       // "embedding" or "compiled"
  Histogram duration_us;  // one value a run
};

struct TableStats {
  std::string name;
  uint64_t lookups = 0;       // ids looked up by batches; in columns of a dense input, those of padding too
  uint64_t out_of_range = 0;  // ids that the table does not have
};

// Counters since Load, each only ever growing (but queued).
struct EngineStats {
  uint64_t requests_ok = 0;
  uint64_t requests_partial = 0;   // of these, those answered for some of their candidates only
  uint64_t requests_failed = 0;    // accepted, then answered with an error
  uint64_t requests_rejected = 0;  // refused by Submit
  uint64_t requests_shed = 0;     // of the rejected ones, those that were fine, but came when there was no room or time
  uint64_t requests_expired = 0;  // of the failed ones, those whose timeout was over, or would have been
  uint64_t requests_canceled = 0;  // of the failed ones, those that nobody waited for any more
  uint64_t samples = 0;            // candidates answered
  uint64_t batches = 0;            // executions of the DAG
  uint64_t queued = 0;             // waiting now
  uint64_t queue_ns = 0;           // summed over requests: from Submit to the start of its batch
  uint64_t compute_ns = 0;         // summed over batches: coalesce and stages
  uint64_t padded_rows = 0;        // candidates that batches were padded with
  Histogram queue_us;              // one value a request (or piece of one): from Submit to the start of its batch
  Histogram coalesce_us;           // one value a batch, as all below: joining the requests
  Histogram infer_us;              // all stages
  Histogram split_us;              // cutting the outputs
  Histogram batch_size;            // candidates, without padding
  std::vector<StageStats> stages;  // in the order in which they run
  std::vector<TableStats> tables;  // in the order of ModelInfo::tables
};

}  // namespace recpile
