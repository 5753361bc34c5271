// The threads that gRPC's events are handled on, and a way for other threads to get there.
#pragma once

#include <grpcpp/alarm.h>
#include <grpcpp/completion_queue.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "rpc/event.h"

namespace recpile::rpc {

class Dispatcher {
 public:
  using Task = std::function<void()>;

  explicit Dispatcher(std::unique_ptr<grpc::ServerCompletionQueue> queue);
  // Handles what is still pending. The server must have been shut down, and the last task have begun.
  ~Dispatcher();

  grpc::ServerCompletionQueue* queue() { return queue_.get(); }

  void Start(int threads);

  // Runs `task` on a thread of the dispatcher, soon. From any thread; the wake-up is paid once for all tasks that wait,
  // so an engine that answers a batch of many requests does not pay for each.
  void Post(Task task);

  // When a request with such a timeout (0: none) was refused for lack of time or room: looks away for a while, once,
  // when nothing is left to do (serving/rest.h).
  void Rest(std::chrono::microseconds timeout);

 private:
  class Inbox final : public Event {
   public:
    explicit Inbox(grpc::ServerCompletionQueue* queue) : queue_(queue) {}
    void Post(Task task);
    void Proceed(bool ok) override;
    // Whether a Post is under way: its task may be over before it is.
    bool busy() const { return posting_ > 0; }

   private:
    grpc::ServerCompletionQueue* const queue_;
    std::mutex mutex_;
    std::vector<Task> tasks_;  // guarded by mutex_
    bool woken_ = false;       // guarded by mutex_: the alarm is set and has not been handled
    std::atomic<int> posting_ = 0;
    std::mutex setting_;
    grpc::Alarm alarm_;  // guarded by setting_
  };

  void Run();

  const std::unique_ptr<grpc::ServerCompletionQueue> queue_;
  Inbox inbox_;
  std::atomic<int64_t> rest_us_ = 0;
  std::vector<std::thread> threads_;
};

}  // namespace recpile::rpc
