#include "rpc/patience.h"

#include <grpc/support/time.h>

#include <algorithm>

namespace recpile::rpc {

using Clock = std::chrono::steady_clock;

void Patience::Begin(Wait* wait) {
  const std::lock_guard lock(mutex_);
  if (wait->is_linked()) return;
  if (hasty_) return wait->GiveUp(true);
  wait->until_ = Clock::now() + limit_;
  waits_.push_back(*wait);
  SetAlarm();
}

bool Patience::End(Wait* wait) {
  const std::lock_guard lock(mutex_);
  if (!wait->is_linked()) return false;
  waits_.erase(waits_.iterator_to(*wait));
  return true;
}

void Patience::GiveUpAll() {
  const std::lock_guard lock(mutex_);
  hasty_ = true;
  waits_.clear_and_dispose([](Wait* wait) { wait->GiveUp(true); });
}

void Patience::Close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  alarm_.Cancel();
}

void Patience::Proceed(bool) {
  const std::lock_guard lock(mutex_);
  set_ = false;
  const Clock::time_point now = Clock::now();
  while (!waits_.empty() && waits_.front().until_ <= now) {
    waits_.pop_front_and_dispose([](Wait* wait) { wait->GiveUp(false); });
  }
  SetAlarm();
}

void Patience::SetAlarm() {
  if (set_ || closed_ || waits_.empty()) return;
  set_ = true;
  const auto left = std::max(Clock::duration::zero(), waits_.front().until_ - Clock::now());
  // Rounded up, or it would go off a little too soon, and again.
  const auto rounded = std::chrono::ceil<std::chrono::milliseconds>(left).count();
  alarm_.Set(queue_, gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(rounded, GPR_TIMESPAN)),
             TagOf(this));
}

}  // namespace recpile::rpc
