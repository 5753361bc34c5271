// What gRPC hands back through a completion queue when something is done.
#pragma once

#if defined(RECPILE_THREAD_SANITIZER)
#include <sanitizer/tsan_interface.h>
#endif

namespace recpile::rpc {

class Event {
 public:
  virtual ~Event() = default;
  // On a thread of the dispatcher. Not `ok`: it did not come to pass (the connection is gone, the server shuts down).
  virtual void Proceed(bool ok) = 0;
};

// An event goes into gRPC and comes out again through these two. What was written before it went in may be read after
// it came out; ThreadSanitizer, which does not see the locks inside gRPC, is told so here, and nowhere else.
inline void* TagOf(Event* event) {
#if defined(RECPILE_THREAD_SANITIZER)
  __tsan_release(event);
#endif
  return event;
}
inline Event* EventOf(void* tag) {
#if defined(RECPILE_THREAD_SANITIZER)
  __tsan_acquire(tag);
#endif
  return static_cast<Event*>(tag);
}

}  // namespace recpile::rpc
