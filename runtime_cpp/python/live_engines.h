// The engines of this process that Python holds, so that they can be stopped before the interpreter ends.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "recpile/engine.h"

namespace recpile {

// An engine's threads take the GIL to let go of inputs and to call back. Once the interpreter is being taken down,
// whoever waits for the GIL is ended where it stands, and unwinding through C++ ends the process. Thread-safe.
class LiveEngines {
 public:
  void Add(const std::shared_ptr<Engine>& engine) {
    const std::lock_guard lock(mutex_);
    std::erase_if(engines_, [](const std::weak_ptr<Engine>& one) { return one.expired(); });
    engines_.push_back(engine);
  }

  // Without the GIL: the threads that it joins may need it.
  void StopAll() {
    std::vector<std::weak_ptr<Engine>> engines;
    {
      const std::lock_guard lock(mutex_);
      engines.swap(engines_);
    }
    for (const std::weak_ptr<Engine>& one : engines) {
      if (const std::shared_ptr<Engine> engine = one.lock()) engine->Stop();
    }
  }

 private:
  std::mutex mutex_;
  std::vector<std::weak_ptr<Engine>> engines_;  // guarded by mutex_
};

}  // namespace recpile
