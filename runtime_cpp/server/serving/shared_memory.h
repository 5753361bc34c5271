// Tensors in POSIX shared memory that clients on this machine have registered: they need not travel over a socket.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "recpile/status.h"

namespace recpile::serving {

struct MemoryRegion {
  std::string name;
  std::string key;  // of shm_open: "/" and a name
  uint64_t offset = 0;
  uint64_t byte_size = 0;
};

// Part of a registered region.
struct MemorySlice {
  std::string region;
  uint64_t offset = 0;
  uint64_t byte_size = 0;
};

// Thread-safe. Bytes are copied in and out by system calls and never mapped: what a client changes meanwhile cannot get
// past the checks of a request, and one that truncates its memory gets an error where a mapping would end the process.
class SharedMemory {
 public:
  // `max_slice`: bytes that one tensor may have, as if it came in a request.
  explicit SharedMemory(uint64_t max_slice) : max_slice_(max_slice) {}

  // kInvalidArgument: the name is taken, there is no such memory, or it is smaller than the region.
  Status Register(MemoryRegion region);
  // Requests that have found the region may still use it. An empty name: all of them. One that is not registered is
  // none the less gone.
  void Unregister(const std::string& name);
  // One region, or with an empty name all of them. kNotFound.
  Result<std::vector<MemoryRegion>> List(const std::string& name) const;

  // kInvalidArgument: no such region, beyond its end, or the memory behind it has shrunk.
  Status Read(const MemorySlice& slice, std::span<std::byte> target) const;
  Status Write(const MemorySlice& slice, std::span<const std::byte> bytes) const;

 private:
  struct Opened;

  // Where the slice begins in the memory behind it.
  Result<std::pair<std::shared_ptr<const Opened>, int64_t>> Locate(const MemorySlice& slice) const;

  const uint64_t max_slice_;
  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<const Opened>> regions_;  // guarded by mutex_
};

}  // namespace recpile::serving
