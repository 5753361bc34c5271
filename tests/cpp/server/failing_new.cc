#include "failing_new.h"

#include <dlfcn.h>
#include <link.h>
#include <unwind.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string_view>

namespace recpile::testing {
namespace {

struct Plan {
  std::atomic<bool> armed = false;
  std::atomic<bool> failed = false;
  std::atomic<size_t> seen = 0;
  std::atomic<size_t> nth = 0;
  std::atomic<bool> from_there = false;
};
constinit Plan plan;
thread_local bool spared = false;

enum class Whose { kOurs, kTheirs, kWhoeverCalled };

// Templates of the standard library are in every module, and which module's are used is for the linker to say.
Whose WhoseCodeIsAt(const void* address) {
  Dl_info info{};
  if (dladdr(address, &info) == 0 || info.dli_fname == nullptr) return Whose::kTheirs;
  static const void* const here = [] {
    Dl_info own{};
    dladdr(reinterpret_cast<const void*>(&WhoseCodeIsAt), &own);
    return own.dli_fbase;
  }();
  const std::string_view symbol = info.dli_sname == nullptr ? "" : info.dli_sname;
  if (symbol.starts_with("_ZNSt") || symbol.starts_with("_ZNKSt") || symbol.starts_with("_ZSt")) {
    return Whose::kWhoeverCalled;
  }
  if (info.dli_fbase == here) return Whose::kOurs;
  const std::string_view file = info.dli_fname;
  if (file.find("libstdc++") != file.npos) return Whose::kWhoeverCalled;
  return file.find("libprotobuf") != file.npos ? Whose::kOurs : Whose::kTheirs;
}

struct Walk {
  const void* caller;
  bool reached = false;  // the frame that called operator new
  Whose whose = Whose::kWhoeverCalled;
};

_Unwind_Reason_Code Step(_Unwind_Context* context, void* argument) {
  auto* walk = static_cast<Walk*>(argument);
  const void* const address = reinterpret_cast<const void*>(_Unwind_GetIP(context));
  walk->reached = walk->reached || address == walk->caller;
  if (!walk->reached) return _URC_NO_REASON;
  walk->whose = WhoseCodeIsAt(address);
  return walk->whose == Whose::kWhoeverCalled ? _URC_NO_REASON : _URC_NORMAL_STOP;
}

void FailIfPlanned(const void* caller) {
  if (!plan.armed || spared) return;
  spared = true;  // what the walk itself needs
  Walk walk{.caller = caller};
  _Unwind_Backtrace(Step, &walk);
  spared = false;
  if (walk.whose != Whose::kOurs) return;
  const size_t which = plan.seen++;
  if (which != plan.nth && !(plan.from_there && which > plan.nth)) return;
  plan.failed = true;
  spared = true;  // what is thrown needs none in earnest
  struct Restore {
    ~Restore() { spared = false; }
  } const restore;
  throw std::bad_alloc();
}

}  // namespace

FailingNew::FailingNew(size_t nth, Fails fails) {
  spared = true;
  plan.failed = false;
  plan.seen = 0;
  plan.nth = nth;
  plan.from_there = fails == Fails::kAllFromThere;
  plan.armed = true;
}

FailingNew::~FailingNew() {
  plan.armed = false;
  spared = false;
}

bool FailingNew::has_failed() const { return plan.failed; }

}  // namespace recpile::testing

// All forms, so that what one of them gives another may take back.
void* operator new(size_t size) {
  recpile::testing::FailIfPlanned(__builtin_return_address(0));
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}
void* operator new[](size_t size) {
  recpile::testing::FailIfPlanned(__builtin_return_address(0));
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}
void* operator new(size_t size, std::align_val_t alignment) {
  recpile::testing::FailIfPlanned(__builtin_return_address(0));
  const auto a = static_cast<size_t>(alignment);
  if (void* memory = std::aligned_alloc(a, (size + a - 1) / a * a)) return memory;
  throw std::bad_alloc();
}
// Whoever uses these is prepared.
void* operator new(size_t size, const std::nothrow_t&) noexcept { return std::malloc(size == 0 ? 1 : size); }
void* operator new[](size_t size, const std::nothrow_t&) noexcept { return std::malloc(size == 0 ? 1 : size); }

void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }
