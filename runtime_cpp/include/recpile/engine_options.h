// How an engine runs what it has loaded.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "recpile/status.h"
#include "recpile/trace.h"

namespace recpile {

// What becomes of a request that cannot be answered within its timeout.
enum class TimeoutAction {
  kReject,  // it is answered at once with kUnavailable
  kDelay,   // it goes behind the others of its priority, and is answered some time
};

// Whether batches run at a few fixed sizes only, padded with rows whose answers nobody gets.
enum class PadBatches {
  kAuto,  // for models with layers smaller than fp32, whose kernels are built anew for each batch size
  kAlways,
  kNever,
};

// What becomes of an id that its table does not have.
enum class OutOfRange {
  kError,  // its request fails
  kZero,   // it is looked up as a row of zeros, which a mean counts too
};

// Where the tables lie.
enum class TableMemory {
  kMmap,       // in the mapped artifact: shared by all processes that serve it, and loaded as they are used
  kHugePages,  // copied to memory of this engine's own in huge pages, where random rows are found sooner
  kAuto,       // huge pages, if the tables are large enough to gain from them and small beside the memory available
};

struct EngineOptions {
  // Batches that may run side by side, each on a thread of its own. 0: one a core that the cgroup grants, or fewer
  // where a short trial while loading says that more of them compute no more. (No trial with load_nice: cores that
  // others use would tell nothing.)
  int instances = 0;
  // Each instance keeps to one core of those the process may use.
  bool pin = false;
  // Candidates (rows) in one batch. A request that has more is cut over several runs, side by side where instances are
  // idle, and answered as a whole. So is a smaller one where that, as far as past runs tell, answers it sooner.
  int64_t max_batch_size = 1024;
  // How long a request may wait for company while an instance is idle. 0: an idle instance never waits.
  int64_t max_queue_delay_microseconds = 0;
  // Batches of just so many candidates run at once; others wait for company, as long as the delay says.
  std::vector<int64_t> preferred_batch_sizes;
  // Each of the sizes runs once when the engine loads.
  PadBatches pad_batches = PadBatches::kAuto;
  // Requests of a higher priority run first. 1: all are equal, and what they ask for is ignored.
  int priority_levels = 1;
  // Of requests that ask for none, or for one that there is not. 0: the middle one.
  int default_priority_level = 0;
  // From Submit to the answer, of requests that say nothing else. 0: without limit.
  int64_t default_timeout_microseconds = 0;
  TimeoutAction timeout_action = TimeoutAction::kReject;
  // Requests that may wait; one more is refused with kUnavailable.
  int64_t max_queue_size = 4096;
  // Either way it is counted, by table.
  OutOfRange out_of_range = OutOfRange::kError;
  TableMemory table_memory = TableMemory::kAuto;
  // Where FBGEMM's operator libraries lie. Empty: beside the libtorch that this process loaded.
  std::string fbgemm_dir;
  // Empty: nobody looks on, and nothing is noted.
  BatchObserver on_batch;
  // Compare every entry's checksum with the manifest's. Sizes, versions and CPU features are checked in any case.
  bool verify_checksums = true;
  // Priority at which the engine loads and warms up, 0 (usual) to 19 (whatever runs beside it comes first), as nice(1)
  // has it. Its instances run at the priority of Load's caller.
  int load_nice = 0;

  // OK, or which option is wrong, what it was and what it may be.
  Status Validate() const;
};

}  // namespace recpile
