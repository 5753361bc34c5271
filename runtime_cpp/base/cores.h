// Which cores this process may use.
#pragma once

#include <filesystem>

namespace recpile {

// Keeps the calling thread to one core of its affinity mask: to the next one with each call, so that the instances of
// several engines do not crowd on the first cores. Where the system refuses, nothing changes.
void PinToNextCore();

// The CPU quota of the tightest cgroup (v2 or v1) that this process is in, in whole cores, rounded down, and at
// least 1. Without a quota it is more than any machine has. `root` is where /proc and /sys are.
int CgroupCores(const std::filesystem::path& root = "/");

// The smaller of the affinity mask and the cgroup's quota. A container limited to 2 cores on a 64-core host gives 2:
// std::thread::hardware_concurrency would give 64.
int AvailableCores();

}  // namespace recpile
