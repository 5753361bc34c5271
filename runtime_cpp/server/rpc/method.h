// A method of the service: sees to it that somebody always waits for its next call.
#pragma once

#include <grpc/support/time.h>
#include <grpcpp/alarm.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <mutex>
#include <new>
#include <utility>

#include "rpc/dispatcher.h"
#include "rpc/event.h"
#include "rpc/owed.h"
#include "rpc/patience.h"

namespace recpile::rpc {

// What calls need of the server, and tell it.
struct CallHost {
  Dispatcher* dispatcher = nullptr;
  Patience* reading = nullptr;        // of a message
  Patience* sending = nullptr;        // of an answer
  std::atomic<size_t> in_flight = 0;  // arrived and not yet answered
  std::atomic<std::chrono::steady_clock::rep> last_arrival = 0;
};

// Must outlive its calls, and the dispatcher.
class AnyMethod : public Event {
 public:
  virtual void Listen() = 0;
  // From now on no call is waited for in place of one that could not be. Before the completion queue is shut down.
  virtual void Close() = 0;
};

template <class Call>
class Method final : public AnyMethod {
 public:
  // `handle` must see to it that Call::Finish is called once, before it returns or later, on any thread; it may throw
  // std::bad_alloc.
  using Handle = std::function<void(const Owed<Call>&)>;
  Method(CallHost* host, typename Call::Accept accept, Handle handle)
      : host(host), accept(std::move(accept)), handle(std::move(handle)) {}

  // Waits for one more call. Where there is no memory for that it is made up for later: a method that nobody waits for
  // would be lost.
  void Listen() override {
    const std::lock_guard lock(mutex_);
    if (!closed_) ListenOrOwe();
  }

  void Close() override {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }

  // It is later.
  void Proceed(bool) override {
    const std::lock_guard lock(mutex_);
    for (int owed = std::exchange(owed_, 0); owed > 0 && !closed_; --owed) ListenOrOwe();
  }

  // When it goes out of scope, whatever has been thrown.
  struct ListenAgain {
    explicit ListenAgain(Method* method) : method(method) {}
    ~ListenAgain() { method->Listen(); }
    Method* const method;
  };

  CallHost* const host;
  const typename Call::Accept accept;
  const Handle handle;

 private:
  static constexpr int kRetryMilliseconds = 20;

  void ListenOrOwe() {
    try {
      Call::Await(this);
    } catch (const std::bad_alloc&) {
      if (++owed_ > 1) return;
      const gpr_timespec pause = gpr_time_from_millis(kRetryMilliseconds, GPR_TIMESPAN);
      alarm_.Set(host->dispatcher->queue(), gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), pause), TagOf(this));
    }
  }

  std::mutex mutex_;
  int owed_ = 0;  // guarded by mutex_, as the next: calls to wait for, at the alarm
  bool closed_ = false;
  grpc::Alarm alarm_;
};

}  // namespace recpile::rpc
