// What one run counts of each table.
#pragma once

#include <cstdint>

namespace recpile {

struct TableCounts {
  uint64_t lookups = 0;
  uint64_t out_of_range = 0;  // of ids that stages computed; those that came with a request were counted by its check
};

}  // namespace recpile
