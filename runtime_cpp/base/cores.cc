#include "base/cores.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace recpile {
namespace {

using Path = std::filesystem::path;

constexpr int kNoLimit = std::numeric_limits<int>::max();

int FromQuota(double quota, double period) {
  if (quota <= 0 || period <= 0) return kNoLimit;
  return static_cast<int>(std::clamp(quota / period, 1.0, double{kNoLimit}));
}

// v2: "max 100000" or "200000 100000" (quota, period).
int LimitOfV2(const Path& group) {
  std::ifstream file(group / "cpu.max");
  double quota = 0, period = 0;
  // "max" is no number, so reading fails: no limit.
  return file >> quota >> period ? FromQuota(quota, period) : kNoLimit;
}

int LimitOfV1(const Path& group) {
  std::ifstream quota_file(group / "cpu.cfs_quota_us"), period_file(group / "cpu.cfs_period_us");
  double quota = 0, period = 0;
  return quota_file >> quota && period_file >> period ? FromQuota(quota, period) : kNoLimit;
}

// The tightest limit of the groups from `mount` down to `group`. In a container the mount is the group itself, and
// there is nothing of that name below it.
int TightestOnTheWay(const Path& mount, const Path& group, int (*limit_of)(const Path&)) {
  int limit = limit_of(mount);
  Path at = mount;
  for (const Path& part : group.relative_path()) limit = std::min(limit, limit_of(at /= part));
  return limit;
}

// The controllers of a v1 group are a list: "cpu,cpuacct".
bool Has(std::string_view controllers, std::string_view wanted) {
  while (!controllers.empty()) {
    const size_t comma = std::min(controllers.find(','), controllers.size());
    if (controllers.substr(0, comma) == wanted) return true;
    controllers.remove_prefix(std::min(comma + 1, controllers.size()));
  }
  return false;
}

}  // namespace

int CgroupCores(const std::filesystem::path& root) {
  const Path mount = root / "sys/fs/cgroup";
  int limit = kNoLimit;
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // "0::/group" is v2's, "4:cpu,cpuacct:/group" v1's
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == line.npos) continue;
    const Path group = line.substr(second + 1);
    const std::string_view controllers = std::string_view(line).substr(first + 1, second - first - 1);
    if (line.starts_with("0::")) limit = std::min(limit, TightestOnTheWay(mount, group, LimitOfV2));
    if (Has(controllers, "cpu")) limit = std::min(limit, TightestOnTheWay(mount / "cpu", group, LimitOfV1));
  }
  return limit;
}

namespace {

// The numbers of the cores in the affinity mask of the calling thread; empty if they cannot be told.
std::vector<int> AllowedCores() {
  std::vector<int> cores;
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &set)) cores.push_back(core);
  }
  return cores;
}

}  // namespace

void PinToNextCore() {
  static std::atomic<size_t> next = 0;
  const std::vector<int> cores = AllowedCores();
  if (cores.empty()) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cores[next++ % cores.size()], &set);
  sched_setaffinity(0, sizeof(set), &set);
}

int AvailableCores() {
  int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) cores = std::max(1, CPU_COUNT(&set));
  return std::min(cores, CgroupCores());
}

}  // namespace recpile
