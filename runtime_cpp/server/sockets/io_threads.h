// The threads that read and write.
#pragma once

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

namespace recpile::sockets {

// Each has a context of its own, and each connection one of them: nothing of a connection runs twice at once. (Strands
// would do for threads that share a context, but if memory runs out within Asio's, they stand still or end the
// process.)
class IoThreads {
 public:
  explicit IoThreads(int count);
  ~IoThreads() { Stop(); }

  // Where the server's own work is done.
  boost::asio::io_context& first() { return *contexts_.front(); }
  // For a new connection: each in turn. On the first thread.
  boost::asio::io_context& Next() { return *contexts_[next_++ % contexts_.size()]; }

  // `run` is called on each thread, with its context, until that is stopped.
  void Start(const std::function<void(boost::asio::io_context&)>& run);
  // Waits until the threads have ended. Idempotent.
  void Stop();

 private:
  using Work = boost::asio::executor_work_guard<boost::asio::io_context::executor_type>;

  std::vector<std::unique_ptr<boost::asio::io_context>> contexts_;
  std::vector<Work> works_;
  std::vector<std::thread> threads_;
  size_t next_ = 0;
};

}  // namespace recpile::sockets
