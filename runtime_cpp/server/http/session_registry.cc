#include "http/session_registry.h"

#include <utility>
#include <vector>

#include "http/session.h"

namespace recpile::http {

void SessionRegistry::Add(const std::shared_ptr<Session>& session) {
  const std::lock_guard lock(mutex_);
  sessions_.emplace(session.get(), session);
}

void SessionRegistry::Remove(const Session* session) {
  const std::lock_guard lock(mutex_);
  sessions_.erase(session);
  if (sessions_.empty()) emptied_.notify_all();
}

void SessionRegistry::ForEach(const std::function<void(Session&)>& action) {
  // Destroyed outside of the lock: the last reference to a session may be here, and its destructor calls Remove.
  std::vector<std::shared_ptr<Session>> alive;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [key, session] : sessions_) {
      if (auto held = session.lock()) alive.push_back(std::move(held));
    }
  }
  for (const auto& session : alive) action(*session);
}

size_t SessionRegistry::size() const {
  const std::lock_guard lock(mutex_);
  return sessions_.size();
}

bool SessionRegistry::WaitUntilEmpty(std::chrono::steady_clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  return emptied_.wait_until(lock, deadline, [this] { return sessions_.empty(); });
}

}  // namespace recpile::http
