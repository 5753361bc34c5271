// A block of bytes that starts on a cache line: bodies read from a socket, and tensors decoded from JSON.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <span>

namespace recpile::kserve {

class AlignedBuffer {
 public:
  static constexpr size_t kAlignment = 64;

  AlignedBuffer() = default;
  // The bytes are uninitialised. Throws std::bad_alloc.
  explicit AlignedBuffer(size_t size) { Reserve(size), size_ = size; }

  std::byte* data() { return bytes_.get(); }
  const std::byte* data() const { return bytes_.get(); }
  size_t size() const { return size_; }
  std::span<const std::byte> span() const { return {data(), size()}; }

  // Grows the block to at least `capacity` bytes; moves what it holds.
  void Reserve(size_t capacity) {
    if (capacity <= capacity_) return;
    Bytes grown(static_cast<std::byte*>(::operator new(capacity, std::align_val_t{kAlignment})));
    if (size_ > 0) std::memcpy(grown.get(), bytes_.get(), size_);
    bytes_ = std::move(grown);
    capacity_ = capacity;
  }

  // Makes it `count` bytes longer, uninitialised, and returns where they are. Throws std::bad_alloc.
  std::byte* Extend(size_t count) {
    if (count > capacity_ - size_) Reserve(std::max(size_ + count, 2 * capacity_));
    size_ += count;
    return bytes_.get() + size_ - count;
  }

  void Append(const void* source, size_t count) {
    if (count > 0) std::memcpy(Extend(count), source, count);
  }

 private:
  struct Free {
    void operator()(std::byte* bytes) const { ::operator delete(bytes, std::align_val_t{kAlignment}); }
  };
  using Bytes = std::unique_ptr<std::byte, Free>;

  Bytes bytes_;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

}  // namespace recpile::kserve
