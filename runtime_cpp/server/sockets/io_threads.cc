#include "sockets/io_threads.h"

namespace recpile::sockets {

IoThreads::IoThreads(int count) {
  for (int i = 0; i < count; ++i) {
    contexts_.push_back(std::make_unique<boost::asio::io_context>());
    works_.emplace_back(contexts_.back()->get_executor());
  }
}

void IoThreads::Start(const std::function<void(boost::asio::io_context&)>& run) {
  for (const auto& context : contexts_) threads_.emplace_back([run, &context] { run(*context); });
}

void IoThreads::Stop() {
  works_.clear();
  for (const auto& context : contexts_) context->stop();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

}  // namespace recpile::sockets
