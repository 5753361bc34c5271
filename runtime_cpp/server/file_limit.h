// How many connections there may be.
#pragma once

#include <sys/resource.h>

namespace recpile {

// As many file descriptors as the process may have, for each connection takes one. Shells and service managers give
// programs fewer than they may ask for (1,024, often) because of select(2), which nothing here uses.
inline void RaiseFileLimit() {
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0) return;
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
}

}  // namespace recpile
