// Giving large mappings back without keeping other threads waiting.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstddef>

namespace recpile {

// munmap, a piece at a time. The kernel locks the address space of the process while it takes pages out, and this may
// be a thread of low priority: a thread that serves, and wants more memory for its heap, would wait for all of it.
inline void Unmap(const std::byte* at, size_t size) {
  constexpr size_t kPiece = 32 << 20;
  for (size_t done = 0; done < size; done += kPiece) {
    munmap(const_cast<std::byte*>(at) + done, std::min(kPiece, size - done));
  }
}

}  // namespace recpile
