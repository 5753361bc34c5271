// How many bytes of requests the server may hold at once, over all connections: else many clients, each within
// --max-request-bytes, would take all memory there is.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <utility>

namespace recpile::serving {

// Thread-safe. Must outlive its shares.
class ByteBudget {
 public:
  // What one request holds, until it is answered. Of one thread at a time.
  class Share {
   public:
    // Of no budget, or of one that is null: without limit.
    Share() = default;
    explicit Share(ByteBudget* budget) : budget_(budget) {}
    Share(Share&& other) noexcept : budget_(other.budget_), bytes_(std::exchange(other.bytes_, 0)) {}
    Share& operator=(Share&& other) noexcept {
      std::swap(budget_, other.budget_);
      std::swap(bytes_, other.bytes_);
      return *this;
    }
    ~Share() {
      if (bytes_ > 0) budget_->held_.fetch_sub(bytes_, std::memory_order_relaxed);
    }

    // Makes it `bytes` in all. False: there is no room, and it is as large as before.
    bool GrowTo(uint64_t bytes) {
      if (budget_ == nullptr || bytes <= bytes_) return true;
      if (!budget_->Take(bytes - bytes_)) return false;
      bytes_ = bytes;
      return true;
    }

   private:
    ByteBudget* budget_ = nullptr;
    uint64_t bytes_ = 0;
  };

  explicit ByteBudget(uint64_t limit) : limit_(limit) {}

  uint64_t limit() const { return limit_; }
  uint64_t held() const { return held_.load(std::memory_order_relaxed); }
  // To a client for whose request there was no room.
  std::string Refusal() const {
    return "the server holds as many bytes of requests as it may, " + std::to_string(limit_) +
           " (--max-pending-bytes); retry later";
  }

 private:
  bool Take(uint64_t bytes) {
    uint64_t held = held_.load(std::memory_order_relaxed);
    do {
      if (bytes > limit_ - held) return false;
    } while (!held_.compare_exchange_weak(held, held + bytes, std::memory_order_relaxed));
    return true;
  }

  const uint64_t limit_;
  std::atomic<uint64_t> held_ = 0;
};

}  // namespace recpile::serving
