#include "base/priority.h"

#include <sys/resource.h>

namespace recpile {

void LowerThreadPriority(int nice) {
  // 0 is the calling thread: on Linux the nice value is a thread's, whatever POSIX says of processes.
  if (nice > 0) setpriority(PRIO_PROCESS, 0, nice);
}

int ThreadNice() { return getpriority(PRIO_PROCESS, 0); }

}  // namespace recpile
