#include "coalesce/batch_sizes.h"

#include <algorithm>

namespace recpile {

BatchSizes BatchSizes::UpTo(int64_t most) {
  BatchSizes sizes;
  for (int64_t size = 1; size < most; size *= 2) {
    sizes.sizes_.push_back(size);
    if (size >= 8 && size + size / 2 < most) sizes.sizes_.push_back(size + size / 2);
    if (size > most / 2) break;
  }
  sizes.sizes_.push_back(most);
  return sizes;
}

int64_t BatchSizes::AtLeast(int64_t rows) const {
  const auto found = std::lower_bound(sizes_.begin(), sizes_.end(), rows);
  return found == sizes_.end() ? rows : *found;
}

}  // namespace recpile
