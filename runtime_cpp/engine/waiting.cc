#include "engine/waiting.h"

#include <numeric>
#include <utility>

namespace recpile {

void Waiting::Insert(QueuedRequest&& request) {
  rows_[request.level] += request.rows;
  ++size_;
  levels_[request.level].push_back(std::move(request));
}

std::vector<QueuedRequest> Waiting::Take(const std::vector<size_t>& from) {
  std::vector<QueuedRequest> taken;
  size_t place = 0;
  auto next = from.begin();
  for (size_t level = 0; level < levels_.size() && next != from.end(); ++level) {
    Level& all = levels_[level];
    const size_t end = place + all.size();
    std::vector<QueuedRequest> kept;
    // As far as the last one that is wanted; what is kept of that goes back in front of the rest.
    for (; next != from.end() && *next < end; ++place) {
      if (place == *next) {
        ++next;
        rows_[level] -= all.front().rows;
        taken.push_back(std::move(all.front()));
      } else {
        kept.push_back(std::move(all.front()));
      }
      all.pop_front();
    }
    for (QueuedRequest& request : kept | std::views::reverse) all.push_front(std::move(request));
    place = end;
  }
  size_ -= taken.size();
  return taken;
}

std::vector<QueuedRequest> Waiting::TakeFront(size_t count) {
  std::vector<QueuedRequest> taken;
  taken.reserve(count);
  for (size_t level = 0; taken.size() < count; ++level) {
    Level& all = levels_[level];
    while (!all.empty() && taken.size() < count) {
      rows_[level] -= all.front().rows;
      taken.push_back(std::move(all.front()));
      all.pop_front();
    }
  }
  size_ -= count;
  return taken;
}

int64_t Waiting::rows() const { return std::accumulate(rows_.begin(), rows_.end(), int64_t{0}); }

int64_t Waiting::rows_as_far_as(size_t level) const {
  return std::accumulate(rows_.begin(), rows_.begin() + static_cast<ptrdiff_t>(level) + 1, int64_t{0});
}

}  // namespace recpile
