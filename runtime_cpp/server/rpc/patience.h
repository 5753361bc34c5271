// How long the server waits for its clients: for the rest of a message, or to take an answer.
#pragma once

#include <grpcpp/alarm.h>
#include <grpcpp/completion_queue.h>

#include <boost/intrusive/list.hpp>
#include <chrono>
#include <mutex>

#include "rpc/event.h"

namespace recpile::rpc {

// One wait. It is part of what waits, so that to begin one takes no memory.
class Wait : public boost::intrusive::list_base_hook<> {
 public:
  virtual ~Wait() = default;
  // It took too long, or, if `closing`, nobody waits any longer. Called once at most, while the wait cannot end; must
  // not call back.
  virtual void GiveUp(bool closing) = 0;

 private:
  friend class Patience;
  std::chrono::steady_clock::time_point until_;
};

// Gives up each wait that has lasted for `limit`. Thread-safe. All waits last equally long, so the oldest is the next
// to look at; one alarm is set at a time, and none where nothing waits when it goes off.
class Patience final : public Event {
 public:
  // Must outlive `queue`'s last event.
  Patience(grpc::CompletionQueue* queue, std::chrono::milliseconds limit) : queue_(queue), limit_(limit) {}

  void Begin(Wait* wait);
  // False: it has been given up, and GiveUp has returned.
  bool End(Wait* wait);

  // Gives up what waits, and whatever begins to.
  void GiveUpAll();
  // The alarm is not waited for. Before the queue is shut down.
  void Close();

  std::chrono::milliseconds limit() const { return limit_; }

  void Proceed(bool) override;

 private:
  void SetAlarm();

  grpc::CompletionQueue* const queue_;
  const std::chrono::milliseconds limit_;
  std::mutex mutex_;
  boost::intrusive::list<Wait> waits_;  // guarded by mutex_, as the next; oldest first
  bool hasty_ = false;                  // nothing is waited for
  bool closed_ = false;
  bool set_ = false;  // the alarm is, and has not been handled
  grpc::Alarm alarm_;
};

}  // namespace recpile::rpc
