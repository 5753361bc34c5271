#include "artifact/table_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <thread>
#include <vector>

#include "artifact/unmap.h"
#include "base/cores.h"
#include "base/memory.h"

namespace recpile {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr size_t kHugePage = 2 * kMiB;
// Less than this, small pages cover well enough (see docs/serving.md for what was measured).
constexpr uint64_t kWorthIt = 64 * kMiB;
// What one thread copies at a time.
constexpr size_t kChunk = 32 * kMiB;
// Of Linux 5.14; older headers lack it.
constexpr int kPopulateWrite = 23;

std::string Shown(uint64_t bytes) {
  char text[32];
  const double mebibytes = static_cast<double>(bytes) / static_cast<double>(kMiB);
  if (mebibytes < 1024) {
    std::snprintf(text, sizeof(text), "%.1f MiB", mebibytes);
  } else {
    std::snprintf(text, sizeof(text), "%.1f GiB", mebibytes / 1024);
  }
  return text;
}

// Recent kernels keep files in folios of up to a huge page, where the file system knows them and the file came into the
// cache in large enough pieces, and map those as such. Goes by what has been touched, and touches some of each large
// table.
bool MappedInHugePages(const Artifact& artifact) {
  const auto bytes = artifact.bytes();
  for (const Table& table : artifact.manifest().tables) {
    volatile const std::byte* const rows = bytes.data() + artifact.table_offset(table);
    const auto size = static_cast<size_t>(table.rows * table.row_bytes);
    for (size_t i = 0; i < 8 && size >= kHugePage; ++i) (void)rows[size / 8 * i];
  }
  // "7f12a4000000-7f12b4000000 r--s ...", then the mapping's "Name:   123 kB".
  char start[32];
  std::snprintf(start, sizeof(start), "%lx-", static_cast<unsigned long>(reinterpret_cast<uintptr_t>(bytes.data())));
  std::ifstream maps("/proc/self/smaps");
  uint64_t resident = 0, huge = 0;
  bool ours = false;
  for (std::string line; std::getline(maps, line);) {
    const bool field = line.find(": ") != line.npos && line.find('-') > line.find(':');
    if (!field && ours) break;
    if (!field) ours = line.starts_with(start);
    if (!ours || !field) continue;
    const uint64_t kilobytes = std::strtoull(line.c_str() + line.find(':') + 1, nullptr, 10);
    if (line.starts_with("Rss:")) resident = kilobytes;
    if (line.starts_with("FilePmdMapped:") || line.starts_with("ShmemPmdMapped:")) huge += kilobytes;
  }
  return resident > 0 && huge * 4 >= resident * 3;
}

struct Range {
  size_t begin, end;
};

// The bytes of all tables in pieces of a chunk at most. Ascending.
std::vector<Range> Chunks(const Artifact& artifact) {
  std::vector<Range> tables;
  for (const Table& table : artifact.manifest().tables) {
    const size_t begin = artifact.table_offset(table);
    tables.push_back({begin, begin + static_cast<size_t>(table.rows * table.row_bytes)});
  }
  std::sort(tables.begin(), tables.end(), [](const Range& a, const Range& b) { return a.begin < b.begin; });
  std::vector<Range> chunks;
  for (const Range& table : tables) {
    for (size_t at = table.begin; at < table.end;) {
      const size_t end = std::min(table.end, (at / kChunk + 1) * kChunk);
      chunks.push_back({at, end});
      at = end;
    }
  }
  return chunks;
}

// Memory for the bytes from `begin` to `end`, rather than fault by fault; and an error (an errno; 0: none), where there
// is none, rather than a signal. One huge page at a time: the kernel locks the address space of the process meanwhile,
// which threads that serve wait for when their heaps grow.
int Populate(std::span<std::byte> memory, size_t begin, size_t end) {
  for (size_t page = begin / kHugePage * kHugePage; page < end; page += kHugePage) {
    const size_t bytes = std::min(end - page, kHugePage);
    if (madvise(memory.data() + page, bytes, kPopulateWrite) != 0 && (errno == ENOMEM || errno == EFAULT)) return errno;
  }
  return 0;
}

// `why` is an errno.
Status NoCopy(uint64_t bytes, int why) {
  return Status::Unavailable("cannot copy " + Shown(bytes) + " of tables to huge pages: " + std::strerror(why) +
                             "; use table memory mmap");
}

}  // namespace

MemoryState MemoryFor(const Artifact& artifact, TableMemory wanted) {
  std::ifstream file("/sys/kernel/mm/transparent_hugepage/enabled");  // "always [madvise] never"
  std::string modes;
  std::getline(file, modes);
  const bool offered = !modes.empty() && modes.find("[never]") == modes.npos;
  return {AvailableMemory(), offered, wanted == TableMemory::kAuto && MappedInHugePages(artifact)};
}

Result<TableMemoryChoice> ChooseTableMemory(TableMemory wanted, uint64_t table_bytes, const MemoryState& memory) {
  const std::string tables = Shown(table_bytes) + " of tables";
  const auto choice = [](bool huge, const std::string& why) {
    return TableMemoryChoice{huge, (huge ? "huge pages: " : "mmap: ") + why};
  };
  if (wanted == TableMemory::kMmap) return choice(false, tables + ", as asked");
  if (!memory.huge_pages) {
    if (wanted == TableMemory::kAuto) return choice(false, tables + ", and the kernel has transparent huge pages off");
    return Status::Unsupported(
        "table memory hugepages: the kernel has transparent huge pages off "
        "(/sys/kernel/mm/transparent_hugepage/enabled says never); allow them there (madvise), or use mmap");
  }
  const std::string room = tables + ", " + Shown(memory.available) + " of memory available";
  if (wanted == TableMemory::kHugePages) return choice(true, room + ", as asked");
  if (table_bytes < kWorthIt) return choice(false, tables + ", too few to gain from huge pages");
  if (memory.mapped_in_huge) return choice(false, tables + ", which the kernel maps in huge pages as they are");
  if (table_bytes > memory.available / 2) return choice(false, room + ": a copy would take more than half of it");
  return choice(true, room);
}

PlacedTables::PlacedTables(std::shared_ptr<const Artifact> artifact) : artifact_(std::move(artifact)) {
  for (const Table& table : artifact_->manifest().tables) {
    table_bytes_ += static_cast<uint64_t>(table.rows * table.row_bytes);
  }
}

Result<std::shared_ptr<const PlacedTables>> PlacedTables::Place(std::shared_ptr<const Artifact> artifact,
                                                                TableMemory wanted, const MemoryState& memory) {
  std::shared_ptr<PlacedTables> placed(new PlacedTables(std::move(artifact)));
  RECPILE_ASSIGN_OR_RETURN(placed->choice_, ChooseTableMemory(wanted, placed->table_bytes_, memory));
  if (placed->choice_.huge_pages && placed->table_bytes_ > 0) {
    const Status copied = placed->Copy();
    if (!copied.ok() && wanted != TableMemory::kAuto) return copied;
    if (!copied.ok()) {
      placed->Drop();
      placed->choice_ = {false, "mmap: " + copied.message()};
    }
  }
  return std::shared_ptr<const PlacedTables>(std::move(placed));
}

Status PlacedTables::Copy() {
  const std::vector<Range> chunks = Chunks(*artifact_);
  // As much as the file, of which only what is written takes memory: offsets stay what they are.
  const size_t size = chunks.back().end + kHugePage;
  void* const at = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) return NoCopy(table_bytes_, errno);
  mapping_ = {static_cast<std::byte*>(at), size};
  const size_t skip = (kHugePage - reinterpret_cast<uintptr_t>(at) % kHugePage) % kHugePage;
  copied_ = mapping_.subspan(skip, size - kHugePage);
  madvise(at, size, MADV_HUGEPAGE);

  std::atomic<size_t> next = 0;
  std::atomic<int> error = 0;
  const auto copy = [&] {
    for (size_t i = next++; i < chunks.size() && error == 0; i = next++) {
      const auto [begin, end] = chunks[i];
      if (const int why = Populate(copied_, begin, end); why != 0) {
        error = why;
      } else if (!artifact_->Read(begin, copied_.subspan(begin, end - begin))) {
        error = errno;
      }
    }
  };
  {
    std::vector<std::jthread> threads;  // joins at the end
    for (int i = 1; i < AvailableCores(); ++i) threads.emplace_back(copy);
    copy();
  }
  if (error != 0) return NoCopy(table_bytes_, error);
  mprotect(mapping_.data(), mapping_.size(), PROT_READ);
  // Those of the file stay in the kernel's cache, but count as this process's no more.
  for (const auto& [begin, end] : chunks) artifact_->Forget(begin, end);
  return {};
}

void PlacedTables::Drop() {
  Unmap(mapping_.data(), mapping_.size());
  mapping_ = copied_ = {};
}

}  // namespace recpile
