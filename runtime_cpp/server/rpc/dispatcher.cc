#include "rpc/dispatcher.h"

#include <grpc/support/time.h>
#include <spdlog/spdlog.h>

#include <exception>
#include <utility>

namespace recpile::rpc {
namespace {

// Memory may run out; that must not take the other calls along.
template <typename Action>
void Guarded(Action action) {
  try {
    action();
  } catch (const std::exception& error) {
    spdlog::error("a call was dropped: {}", error.what());
  }
}

}  // namespace

Dispatcher::Dispatcher(std::unique_ptr<grpc::ServerCompletionQueue> queue)
    : queue_(std::move(queue)), inbox_(queue_.get()) {}

Dispatcher::~Dispatcher() {
  queue_->Shutdown();
  if (threads_.empty()) Run();
  for (std::thread& thread : threads_) thread.join();
}

void Dispatcher::Start(int threads) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Run(); });
}

void Dispatcher::Post(Task task) { inbox_.Post(std::move(task)); }

void Dispatcher::Run() {
  void* tag = nullptr;
  bool ok = false;
  while (queue_->Next(&tag, &ok)) {
    Guarded([&] { static_cast<Event*>(tag)->Proceed(ok); });
  }
}

void Dispatcher::Inbox::Post(Task task) {
  const std::lock_guard lock(mutex_);
  tasks_.push_back(std::move(task));
  if (std::exchange(woken_, true)) return;
  // Under the lock, or the next wake-up could be set on another thread before this call is over.
  alarm_.Set(queue_, gpr_inf_past(GPR_CLOCK_REALTIME), this);
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
