#include "base/priority.h"

#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

namespace recpile {
namespace {

// The kernel's struct sched_attr, version 0; not every C library has it.
struct SchedulingAttributes {
  uint32_t size = sizeof(SchedulingAttributes);
  uint32_t policy = SCHED_OTHER;
  uint64_t flags = 0;
  int32_t nice = 0;
  uint32_t priority = 0;
  uint64_t runtime_ns = 0;
  uint64_t deadline_ns = 0;
  uint64_t period_ns = 0;
};

constexpr uint64_t kSliceNs = 100'000;  // the least that Linux takes

}  // namespace

void LowerThreadPriority(int nice) {
  if (nice <= 0) return;
  // 0 is the calling thread: on Linux the nice value is a thread's, whatever POSIX says of processes.
  setpriority(PRIO_PROCESS, 0, nice);
#ifdef SYS_sched_setattr
  // Since 6.6 Linux lets a thread finish its slice of 3 ms, however low its priority, before one that wakes may run;
  // since 6.12 a thread may ask for shorter ones. Elsewhere this changes nothing.
  const SchedulingAttributes attributes = {.nice = nice, .runtime_ns = kSliceNs};
  syscall(SYS_sched_setattr, 0, &attributes, 0);
#endif
}

}  // namespace recpile
