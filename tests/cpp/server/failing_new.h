// An operator new that fails when it is told to, for the binary that links failing_new.cc.
#pragma once

#include <cstddef>

namespace recpile::testing {

// Allocations of the code under test are counted while one of these lives: those of threads other than its own, made in
// frames of this binary (headers of libraries included) and in what protobuf does for them. gRPC's own libraries get
// what they ask for: they do not survive without.
class FailingNew {
 public:
  enum class Fails { kOne, kAllFromThere };

  // `nth`: the first one is 0.
  FailingNew(size_t nth, Fails fails);
  ~FailingNew();
  FailingNew(const FailingNew&) = delete;

  // Whether there was such an allocation.
  bool has_failed() const;
};

}  // namespace recpile::testing
