// The few sizes at which batches run, where every new size costs time.
#pragma once

#include <cstdint>
#include <vector>

namespace recpile {

class BatchSizes {
 public:
  // None: every size is fine.
  BatchSizes() = default;

  // Up to `most`, and that itself: all powers of two, and from 8 on what lies halfway between them. So at most half of
  // a batch's rows are padding when it is tiny, and a third when it is not.
  static BatchSizes UpTo(int64_t most);

  // The smallest size that holds `rows`; `rows` itself if there is none.
  int64_t AtLeast(int64_t rows) const;

  const std::vector<int64_t>& all() const { return sizes_; }

 private:
  std::vector<int64_t> sizes_;  // ascending
};

}  // namespace recpile
