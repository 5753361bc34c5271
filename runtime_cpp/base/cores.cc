#include "base/cores.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <thread>
#include <vector>

namespace recpile {
namespace {

constexpr int kNoLimit = std::numeric_limits<int>::max();

int FromQuota(double quota, double period) {
  if (quota <= 0 || period <= 0) return kNoLimit;
  return std::max(1, static_cast<int>(quota / period));
}

// v2: this process's group and every group around it has a cpu.max, "max 100000" or "200000 100000" (quota, period).
int GroupLimit(const std::filesystem::path& group) {
  std::ifstream file(group / "cpu.max");
  double quota = 0, period = 0;
  // "max" is no number, so reading fails: no limit.
  return file >> quota >> period ? FromQuota(quota, period) : kNoLimit;
}

int CgroupLimit() {
  const std::filesystem::path root = "/sys/fs/cgroup";
  int limit = GroupLimit(root);
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    if (!line.starts_with("0::/")) continue;
    std::filesystem::path group = root;
    for (const auto& part : std::filesystem::path(line.substr(4))) {
      group /= part;
      limit = std::min(limit, GroupLimit(group));
    }
  }
  std::ifstream quota_file(root / "cpu/cpu.cfs_quota_us");  // v1
  std::ifstream period_file(root / "cpu/cpu.cfs_period_us");
  double quota = 0, period = 0;
  if (quota_file >> quota && period_file >> period) limit = std::min(limit, FromQuota(quota, period));
  return limit;
}

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
  return std::min(cores, CgroupLimit());
}

}  // namespace recpile
