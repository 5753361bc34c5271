// The number that the kernel, and so a profiler, has for a thread.
#pragma once

#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

namespace recpile {

inline uint64_t ThisThread() {
  thread_local const auto id = static_cast<uint64_t>(syscall(SYS_gettid));
  return id;
}

}  // namespace recpile
