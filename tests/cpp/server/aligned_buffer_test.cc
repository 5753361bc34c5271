#include "kserve/aligned_buffer.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>

namespace recpile::kserve {
namespace {

TEST(AlignedBuffer, StaysAlignedAndKeepsItsBytesWhileItGrows) {
  AlignedBuffer buffer;
  std::string expected;
  for (int i = 0; i < 1000; ++i) {
    const std::string part(static_cast<size_t>(i % 7), static_cast<char>('a' + i % 26));
    buffer.Append(part.data(), part.size());
    expected += part;
  }
  EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % AlignedBuffer::kAlignment, 0u);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(buffer.data()), buffer.size()), expected);
}

TEST(AlignedBuffer, MayBeEmpty) {
  const AlignedBuffer buffer(0);
  EXPECT_TRUE(buffer.span().empty());
}

}  // namespace
}  // namespace recpile::kserve
