// How much memory this process may still take.
#pragma once

#include <cstdint>
#include <filesystem>

namespace recpile {

// Bytes that can be had without pushing out anybody's: the kernel's MemAvailable, or less where a cgroup (v2 or v1)
// that this process is in leaves less. 0 if the kernel does not say. `root` is where /proc and /sys are.
uint64_t AvailableMemory(const std::filesystem::path& root = "/");

}  // namespace recpile
