// CgroupCores: the tightest quota of the groups around the process.
#include "base/cores.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "temporary_folder.h"

namespace recpile {
namespace {

constexpr int kMany = 1'000'000;

class CgroupCoresTest : public ::testing::Test {
 protected:
  void Write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  int Cores() const { return CgroupCores(root_); }

 private:
  const testing::TemporaryFolder folder_;
  const std::filesystem::path& root_ = folder_.path();
};

TEST_F(CgroupCoresTest, WithoutGroupsOrQuotaThereIsNoLimit) {
  EXPECT_GT(Cores(), kMany);
  Write("proc/self/cgroup", "0::/\n");
  Write("sys/fs/cgroup/cpu.max", "max 100000\n");
  EXPECT_GT(Cores(), kMany);
}

TEST_F(CgroupCoresTest, QuotaIsRoundedDownButNotToNothing) {
  Write("proc/self/cgroup", "0::/\n");
  Write("sys/fs/cgroup/cpu.max", "250000 100000\n");
  EXPECT_EQ(Cores(), 2);
  Write("sys/fs/cgroup/cpu.max", "50000 100000\n");
  EXPECT_EQ(Cores(), 1);
}

TEST_F(CgroupCoresTest, HugeQuotaDoesNotOverflow) {
  Write("proc/self/cgroup", "0::/\n");
  Write("sys/fs/cgroup/cpu.max", "9000000000000000000 1\n");
  EXPECT_GT(Cores(), kMany);
}

TEST_F(CgroupCoresTest, TheTightestGroupOnTheWayCounts) {
  Write("proc/self/cgroup", "0::/outer/inner\n");
  Write("sys/fs/cgroup/outer/cpu.max", "300000 100000\n");
  Write("sys/fs/cgroup/outer/inner/cpu.max", "800000 100000\n");
  EXPECT_EQ(Cores(), 3);
}

TEST_F(CgroupCoresTest, TheFirstVersionOfGroupsCountsToo) {
  Write("proc/self/cgroup", "9:cpuset:/box\n4:cpu,cpuacct:/box\n0::/\n");
  Write("sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "400000\n");
  Write("sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(Cores(), 4);
  Write("sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "-1\n");
  EXPECT_GT(Cores(), kMany);
}

TEST_F(CgroupCoresTest, InAContainerTheMountIsTheGroup) {
  Write("proc/self/cgroup", "4:cpu:/docker/0123\n");
  Write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "200000\n");
  Write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(Cores(), 2);
}

TEST(AvailableCores, IsAtLeastOneAndAtMostWhatTheGroupGrants) {
  EXPECT_GE(AvailableCores(), 1);
  EXPECT_LE(AvailableCores(), CgroupCores());
}

}  // namespace
}  // namespace recpile
