// One thread that runs what it is given, in order.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace recpile::serving {

// Thread-safe, but for the destructor.
class Worker {
 public:
  using Task = std::function<void()>;  // must not throw

  Worker();
  // Runs what is left, and joins. Not from a task.
  ~Worker();

  void Post(Task task);

 private:
  void Run();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Task> tasks_;  // guarded by mutex_
  bool ending_ = false;     // guarded by mutex_
  std::thread thread_;
};

}  // namespace recpile::serving
