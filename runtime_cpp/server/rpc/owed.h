// Whoever handles a call holds one of these, or several.
#pragma once

#include <new>
#include <utility>

namespace recpile::rpc {

// While one is left the call is alive. If none is left, and nobody has called Finish, the call is answered as one for
// which memory ran out: however what handles it ends, and wherever it has got to, its client hears of it.
template <class Call>
class Owed {
 public:
  explicit Owed(Call* call) : call_(call) { call_->Hold(); }
  Owed(const Owed& other) : call_(other.call_) {
    if (call_ != nullptr) call_->Hold();
  }
  Owed(Owed&& other) noexcept : call_(std::exchange(other.call_, nullptr)) {}
  Owed& operator=(Owed) = delete;
  ~Owed() {
    if (call_ != nullptr) call_->LetGo();
  }

  Call* operator->() const { return call_; }

  // A later Finish, from another thread; `make_status` fills the response, on the dispatcher's.
  template <class MakeStatus>
  void FinishLater(MakeStatus make_status) const {
    try {
      call_->dispatcher()->Post([owed = *this, make_status = std::move(make_status)] { owed->Finish(make_status()); });
    } catch (const std::bad_alloc&) {
      // Must not reach the engine's thread. The last one that is left answers.
    }
  }

 private:
  Call* call_;
};

}  // namespace recpile::rpc
