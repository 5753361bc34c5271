// How many cores this process may use.
#pragma once

#include <vector>

namespace recpile {

// The numbers of the cores in the affinity mask of the calling thread; empty if they cannot be told.
std::vector<int> AllowedCores();

// Keeps the calling thread to that core. Where the system refuses, nothing changes.
void PinThread(int core);

// The smaller of the affinity mask and the cgroup's CPU quota (v2, then v1), rounded down, and at least 1. A container
// limited to 2 cores on a 64-core host gives 2: std::thread::hardware_concurrency would give 64.
int AvailableCores();

}  // namespace recpile
