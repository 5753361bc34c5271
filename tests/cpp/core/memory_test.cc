// AvailableMemory: the least of what the machine and the groups around the process leave.
#include "base/memory.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "temporary_folder.h"

namespace recpile {
namespace {

class AvailableMemoryTest : public ::testing::Test {
 protected:
  AvailableMemoryTest() { Write("proc/meminfo", "MemTotal:  4000 kB\nMemAvailable:    1000 kB\nMemFree: 7 kB\n"); }

  void Write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  uint64_t Available() const { return AvailableMemory(root_); }

 private:
  const testing::TemporaryFolder folder_;
  const std::filesystem::path& root_ = folder_.path();
};

TEST_F(AvailableMemoryTest, WithoutGroupsIsTheKernels) { EXPECT_EQ(Available(), 1000u * 1024); }

TEST_F(AvailableMemoryTest, IsNothingWhereTheKernelDoesNotSay) {
  Write("proc/meminfo", "MemTotal:  4000 kB\n");
  EXPECT_EQ(Available(), 0u);
}

TEST_F(AvailableMemoryTest, AGroupLeavesItsLimitLessWhatItHoldsButForCachedFiles) {
  Write("proc/self/cgroup", "0::/\n");
  Write("sys/fs/cgroup/memory.max", "1000\n");
  Write("sys/fs/cgroup/memory.current", "700\n");
  EXPECT_EQ(Available(), 300u);
  Write("sys/fs/cgroup/memory.stat", "anon 500\ninactive_file_other 9\ninactive_file 200\n");
  EXPECT_EQ(Available(), 500u);
  Write("sys/fs/cgroup/memory.max", "100\n");
  EXPECT_EQ(Available(), 0u);
  Write("sys/fs/cgroup/memory.max", "max\n");
  EXPECT_EQ(Available(), 1000u * 1024);
}

TEST_F(AvailableMemoryTest, TheTightestGroupOnTheWayCounts) {
  Write("proc/self/cgroup", "0::/outer/inner\n");
  Write("sys/fs/cgroup/outer/memory.max", "400\n");
  Write("sys/fs/cgroup/outer/memory.current", "100\n");
  Write("sys/fs/cgroup/outer/inner/memory.max", "900\n");
  Write("sys/fs/cgroup/outer/inner/memory.current", "100\n");
  EXPECT_EQ(Available(), 300u);
}

TEST_F(AvailableMemoryTest, TheFirstVersionOfGroupsCountsToo) {
  Write("proc/self/cgroup", "9:name=systemd:/\n4:memory:/box\n0::/\n");
  Write("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "800\n");
  Write("sys/fs/cgroup/memory/box/memory.usage_in_bytes", "600\n");
  Write("sys/fs/cgroup/memory/box/memory.stat", "total_inactive_file 50\n");
  EXPECT_EQ(Available(), 250u);
}

}  // namespace
}  // namespace recpile
