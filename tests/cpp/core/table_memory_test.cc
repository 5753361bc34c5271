// ChooseTableMemory: where tables go, from their size and what the machine has.
#include "artifact/table_memory.h"

#include <gtest/gtest.h>

namespace recpile {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20, kGiB = uint64_t{1} << 30;

std::string Choice(TableMemory wanted, uint64_t bytes, const MemoryState& memory) {
  const auto choice = ChooseTableMemory(wanted, bytes, memory);
  if (!choice.ok()) return choice.status().message();
  EXPECT_EQ(choice.value().huge_pages, choice.value().reason.starts_with("huge pages: "));
  return choice.value().reason;
}

TEST(ChooseTableMemory, WhatIsAskedForIsDone) {
  EXPECT_EQ(Choice(TableMemory::kMmap, 8 * kGiB, {64 * kGiB, true}), "mmap: 8.0 GiB of tables, as asked");
  EXPECT_EQ(Choice(TableMemory::kHugePages, kMiB, {2 * kMiB, true}),
            "huge pages: 1.0 MiB of tables, 2.0 MiB of memory available, as asked");
}

TEST(ChooseTableMemory, LargeTablesGoToHugePagesWhereThereIsRoom) {
  EXPECT_EQ(Choice(TableMemory::kAuto, 4 * kGiB, {8 * kGiB, true}),
            "huge pages: 4.0 GiB of tables, 8.0 GiB of memory available");
  EXPECT_EQ(Choice(TableMemory::kAuto, 4 * kGiB + 1, {8 * kGiB, true}),
            "mmap: 4.0 GiB of tables, 8.0 GiB of memory available: a copy would take more than half of it");
}

TEST(ChooseTableMemory, WhatIsInHugePagesAlreadyStays) {
  EXPECT_EQ(Choice(TableMemory::kAuto, 4 * kGiB, {8 * kGiB, true, true}),
            "mmap: 4.0 GiB of tables, which the kernel maps in huge pages as they are");
  EXPECT_TRUE(Choice(TableMemory::kHugePages, 4 * kGiB, {8 * kGiB, true, true}).starts_with("huge pages: "));
}

TEST(ChooseTableMemory, SmallTablesStay) {
  EXPECT_EQ(Choice(TableMemory::kAuto, 64 * kMiB - 1, {8 * kGiB, true}),
            "mmap: 64.0 MiB of tables, too few to gain from huge pages");
  EXPECT_EQ(Choice(TableMemory::kAuto, 64 * kMiB, {8 * kGiB, true}),
            "huge pages: 64.0 MiB of tables, 8.0 GiB of memory available");
}

TEST(ChooseTableMemory, WithoutHugePagesTheyAreRefusedOrDoneWithout) {
  EXPECT_EQ(Choice(TableMemory::kAuto, 4 * kGiB, {8 * kGiB, false}),
            "mmap: 4.0 GiB of tables, and the kernel has transparent huge pages off");
  EXPECT_NE(Choice(TableMemory::kHugePages, 4 * kGiB, {8 * kGiB, false}).find("says never"), std::string::npos);
}

}  // namespace
}  // namespace recpile
