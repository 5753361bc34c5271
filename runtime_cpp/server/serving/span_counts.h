// What became of requests whose spans were to be exported.
#pragma once

#include <atomic>
#include <cstdint>

namespace recpile::serving {

struct SpanCounts {
  std::atomic<uint64_t> exported = 0;  // requests that a collector took the spans of
  std::atomic<uint64_t> dropped = 0;   // those whose spans found no room, or that it refused
};

}  // namespace recpile::serving
