#include "serving/shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "kserve/request_json.h"

namespace recpile::serving {

struct SharedMemory::Opened {
  MemoryRegion region;
  int file;

  Opened(MemoryRegion of, int descriptor) : region(std::move(of)), file(descriptor) {}
  ~Opened() { close(file); }
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;
};

namespace {

bool Fits(uint64_t offset, uint64_t size, uint64_t whole) { return offset <= whole && size <= whole - offset; }

// Calls `transfer(done)`, which moves bytes from `done` on and says how many, until `size` have been moved.
template <typename Transfer>
Status MoveAll(size_t size, const std::string& region, Transfer transfer) {
  for (size_t done = 0; done < size;) {
    const ssize_t moved = transfer(done);
    if (moved < 0 && errno == EINTR) continue;
    if (moved <= 0) {
      return Status::InvalidArgument("shared memory region '" + region +
                                     "' is no longer as large as it was registered");
    }
    done += static_cast<size_t>(moved);
  }
  return Status();
}

}  // namespace

Status SharedMemory::Register(MemoryRegion region) {
  const std::string label = "shared memory region '" + kserve::Excerpt(region.name) + "': ";
  if (region.name.empty()) return Status::InvalidArgument("a shared memory region needs a name");
  const bool plain = region.key.size() > 1 && region.key.size() < 256 && region.key.find('/', 1) == std::string::npos &&
                     region.key.find('\0') == std::string::npos;
  if (!plain || region.key[0] != '/') {
    return Status::InvalidArgument(label + "key is '" + kserve::Excerpt(region.key) +
                                   "'; use that of shm_open, \"/\" and a name");
  }
  const int file = shm_open(region.key.c_str(), O_RDWR | O_CLOEXEC, 0);
  if (file < 0) {
    return Status::InvalidArgument(label + "cannot open '" + region.key + "': " + std::strerror(errno));
  }
  const auto opened = std::make_shared<const Opened>(std::move(region), file);
  struct stat found = {};
  if (fstat(file, &found) != 0 || !S_ISREG(found.st_mode)) {
    return Status::InvalidArgument(label + "'" + opened->region.key + "' is no shared memory");
  }
  const auto size = static_cast<uint64_t>(found.st_size);
  if (opened->region.byte_size == 0 || !Fits(opened->region.offset, opened->region.byte_size, size)) {
    return Status::InvalidArgument(label + "offset " + std::to_string(opened->region.offset) + " and byte_size " +
                                   std::to_string(opened->region.byte_size) + " do not fit '" + opened->region.key +
                                   "', which has " + std::to_string(size) + " bytes");
  }
  const std::lock_guard lock(mutex_);
  if (regions_.emplace(opened->region.name, opened).second) return Status();
  return Status::InvalidArgument(label + "is registered already; unregister it first");
}

void SharedMemory::Unregister(const std::string& name) {
  const std::lock_guard lock(mutex_);
  if (name.empty()) {
    regions_.clear();
  } else {
    regions_.erase(name);
  }
}

Result<std::vector<MemoryRegion>> SharedMemory::List(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  std::vector<MemoryRegion> list;
  for (const auto& [key, opened] : regions_) {
    if (name.empty() || key == name) list.push_back(opened->region);
  }
  if (!name.empty() && list.empty()) {
    return Status::NotFound("shared memory region '" + kserve::Excerpt(name) + "' is not registered");
  }
  return list;
}

Result<std::pair<std::shared_ptr<const SharedMemory::Opened>, int64_t>> SharedMemory::Locate(
    const MemorySlice& slice) const {
  if (slice.byte_size > max_slice_) {
    return Status::InvalidArgument("shared_memory_byte_size is " + std::to_string(slice.byte_size) +
                                   "; the server's limit is " + std::to_string(max_slice_) +
                                   " bytes (--max-request-bytes)");
  }
  const std::lock_guard lock(mutex_);
  const auto found = regions_.find(slice.region);
  if (found == regions_.end()) {
    return Status::InvalidArgument("shared memory region '" + kserve::Excerpt(slice.region) + "' is not registered");
  }
  const MemoryRegion& region = found->second->region;
  if (!Fits(slice.offset, slice.byte_size, region.byte_size)) {
    return Status::InvalidArgument("shared_memory_offset " + std::to_string(slice.offset) + " and byte_size " +
                                   std::to_string(slice.byte_size) + " do not fit region '" + region.name +
                                   "', which has " + std::to_string(region.byte_size) + " bytes");
  }
  return std::pair(found->second, static_cast<int64_t>(region.offset + slice.offset));
}

Status SharedMemory::Read(const MemorySlice& slice, std::span<std::byte> target) const {
  RECPILE_ASSIGN_OR_RETURN(const auto place, Locate(slice));
  return MoveAll(target.size(), slice.region, [&](size_t done) {
    return pread(place.first->file, target.data() + done, target.size() - done,
                 place.second + static_cast<int64_t>(done));
  });
}

Status SharedMemory::Write(const MemorySlice& slice, std::span<const std::byte> bytes) const {
  RECPILE_ASSIGN_OR_RETURN(const auto place, Locate(slice));
  return MoveAll(bytes.size(), slice.region, [&](size_t done) {
    return pwrite(place.first->file, bytes.data() + done, bytes.size() - done,
                  place.second + static_cast<int64_t>(done));
  });
}

}  // namespace recpile::serving
