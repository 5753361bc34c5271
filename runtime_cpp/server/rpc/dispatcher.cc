#include "rpc/dispatcher.h"

#include <grpc/support/time.h>

#include <chrono>
#include <exception>
#include <utility>

#include "serving/log_caught.h"
#include "serving/rest.h"

namespace recpile::rpc {
namespace {

// Memory may run out; that must not take the other calls along. The call itself is answered by Owed.
template <typename Action>
void Guarded(const Action& action) {
  try {
    action();
  } catch (const std::exception& error) {
    serving::LogCaught("a call failed", error);
  }
}

}  // namespace

Dispatcher::Dispatcher(std::unique_ptr<grpc::ServerCompletionQueue> queue)
    : queue_(std::move(queue)), inbox_(queue_.get()) {}

Dispatcher::~Dispatcher() {
  // By looking, for a moment at most: to be told, the inbox would have to be touched after a Post's last act in it.
  while (inbox_.busy()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  queue_->Shutdown();
  if (threads_.empty()) Run();
  for (std::thread& thread : threads_) thread.join();
}

void Dispatcher::Start(int threads) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Run(); });
}

void Dispatcher::Post(Task task) { inbox_.Post(std::move(task)); }

void Dispatcher::Rest(std::chrono::microseconds timeout) { rest_us_ = serving::RestAfterRefusal(timeout).count(); }

void Dispatcher::Run() {
  const gpr_timespec at_once = gpr_inf_past(GPR_CLOCK_MONOTONIC);
  const gpr_timespec whenever = gpr_inf_future(GPR_CLOCK_MONOTONIC);
  void* tag = nullptr;
  bool ok = false;
  while (true) {
    // What is there already comes before a rest.
    const bool rest = rest_us_ > 0;
    switch (queue_->AsyncNext(&tag, &ok, rest ? at_once : whenever)) {
      case grpc::CompletionQueue::SHUTDOWN:
        return;
      case grpc::CompletionQueue::TIMEOUT:
        std::this_thread::sleep_for(std::chrono::microseconds(rest_us_.exchange(0)));
        break;
      case grpc::CompletionQueue::GOT_EVENT:
        Guarded([&] { EventOf(tag)->Proceed(ok); });
    }
  }
}

void Dispatcher::Inbox::Post(Task task) {
  struct Counted {
    explicit Counted(std::atomic<int>* count) : count(count) { ++*count; }
    ~Counted() { --*count; }
    std::atomic<int>* const count;
  } const counted(&posting_);
  {
    const std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
    if (std::exchange(woken_, true)) return;
  }
  // Or the next wake-up could be set on another thread before this call is over. Not under the other lock: the thread
  // that it wakes wants that at once.
  const std::lock_guard lock(setting_);
  alarm_.Set(queue_, gpr_inf_past(GPR_CLOCK_REALTIME), TagOf(this));
}

void Dispatcher::Inbox::Proceed(bool) {
  std::vector<Task> tasks;
  {
    const std::lock_guard lock(mutex_);
    tasks.swap(tasks_);
    woken_ = false;
  }
  for (const Task& task : tasks) Guarded(task);
}

}  // namespace recpile::rpc
