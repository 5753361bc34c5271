// The connections that are open, so that a shutdown can close the idle ones and wait for the others.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>

namespace recpile::http {

class Session;

// Thread-safe.
class SessionRegistry {
 public:
  void Add(const std::shared_ptr<Session>& session);
  // Called by the session's destructor.
  void Remove(const Session* session);

  void ForEach(const std::function<void(Session&)>& action);

  size_t size() const;
  // Whether the last session was gone by `deadline`.
  bool WaitUntilEmpty(std::chrono::steady_clock::time_point deadline);

 private:
  mutable std::mutex mutex_;
  std::condition_variable emptied_;
  std::unordered_map<const Session*, std::weak_ptr<Session>> sessions_;
};

}  // namespace recpile::http
