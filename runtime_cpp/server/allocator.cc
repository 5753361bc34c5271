#include "allocator.h"

#include <cstdlib>  // defines __GLIBC__, where it is

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace recpile {

void KeepFreedMemory() {
#ifdef __GLIBC__
  // Larger ones, weights among them, go back to the kernel at once when a model is unloaded.
  constexpr int kMappedFrom = 16 << 20;
  // Free bytes at the top of a thread's heap, beyond which they are handed back.
  constexpr int kKept = 64 << 20;
  // What a thread's heap begins with; memory is taken as it is written to. From there a heap grows by a few pages at a
  // time, each a system call that waits for whatever a model that is being loaded has the kernel do with memory.
  constexpr int kHeap = 16 << 20;
  mallopt(M_MMAP_THRESHOLD, kMappedFrom);
  mallopt(M_TOP_PAD, kHeap);
  mallopt(M_TRIM_THRESHOLD, kKept);
#endif
}

}  // namespace recpile
