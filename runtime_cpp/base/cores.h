// Which cores this process may use.
#pragma once

namespace recpile {

// Keeps the calling thread to one core of its affinity mask: to the next one with each call, so that the instances of
// several engines do not crowd on the first cores. Where the system refuses, nothing changes.
void PinToNextCore();

// The smaller of the affinity mask and the cgroup's CPU quota (v2, then v1), rounded down, and at least 1. A container
// limited to 2 cores on a 64-core host gives 2: std::thread::hardware_concurrency would give 64.
int AvailableCores();

}  // namespace recpile
