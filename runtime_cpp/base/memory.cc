#include "base/memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

namespace recpile {
namespace {

using Path = std::filesystem::path;

constexpr uint64_t kNoLimit = std::numeric_limits<uint64_t>::max();

// A file that is one number; nothing if there is none, or it says "max".
std::optional<uint64_t> Number(const Path& path) {
  std::ifstream file(path);
  uint64_t number = 0;
  if (!(file >> number)) return std::nullopt;
  return number;
}

// Of a file of lines "name number", with or without a colon behind the name.
std::optional<uint64_t> Field(const Path& path, std::string_view name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(name)) continue;
    const size_t digits = line.find_first_of("0123456789", name.size());
    if (digits == line.npos || line.find_first_not_of(": \t", name.size()) != digits) continue;
    return std::stoull(line.substr(digits));
  }
  return std::nullopt;
}

struct Names {
  const char *limit, *used, *cache;
};
constexpr Names kV2 = {"memory.max", "memory.current", "inactive_file"};
constexpr Names kV1 = {"memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"};

// What a group leaves: its limit less what it uses, of which cached files can be dropped.
uint64_t Left(const Path& group, const Names& names) {
  const auto limit = Number(group / names.limit), used = Number(group / names.used);
  if (!limit || !used) return kNoLimit;
  const uint64_t cache = std::min(Field(group / "memory.stat", names.cache).value_or(0), *used);
  const uint64_t bound = *used - cache;
  return *limit > bound ? *limit - bound : 0;
}

// The least that any of the groups from `mount` down to `group` leaves. In a container the mount is the group itself,
// and there is nothing of that name below it.
uint64_t LeftOnTheWay(const Path& mount, const Path& group, const Names& names) {
  uint64_t left = Left(mount, names);
  Path at = mount;
  for (const Path& part : group.relative_path()) left = std::min(left, Left(at /= part, names));
  return left;
}

}  // namespace

uint64_t AvailableMemory(const Path& root) {
  const auto kilobytes = Field(root / "proc/meminfo", "MemAvailable");
  if (!kilobytes) return 0;
  uint64_t left = *kilobytes * 1024;
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // "0::/group" is v2's, "4:memory:/group" v1's
    const size_t colon = line.rfind(':');
    if (colon == line.npos) continue;
    const Path group = line.substr(colon + 1);
    if (line.starts_with("0::")) left = std::min(left, LeftOnTheWay(root / "sys/fs/cgroup", group, kV2));
    if (line.find(":memory:") != line.npos) {
      left = std::min(left, LeftOnTheWay(root / "sys/fs/cgroup/memory", group, kV1));
    }
  }
  return left;
}

}  // namespace recpile
