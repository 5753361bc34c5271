#include "execute/bf16_lookup.h"

#include <algorithm>
#include <bit>
#include <type_traits>

// Built with -ffp-contract=off: a fused multiply-add would round once where the debug runtime rounds twice.

#define RECPILE_INLINE [[gnu::always_inline]] inline

namespace recpile {
namespace {

// So many rows ahead are fetched: enough to hide the latency of memory, few enough for the core's fill buffers.
constexpr int64_t kAhead = 16;
// Of a longer row the hardware fetches the rest by itself.
constexpr int64_t kMostLines = 8;
constexpr int64_t kLine = 64;
// Rows are added so many at once, one after the other: the sums are loaded and stored once for all of them.
constexpr int kTogether = 4;
// Columns that are summed up at once where sums are not written as they are.
constexpr int64_t kColumns = 512;

// An element in memory that a zip archive aligned.
using Unaligned [[gnu::aligned(1), gnu::may_alias]] = const uint16_t;

RECPILE_INLINE float Widened(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16U); }

RECPILE_INLINE uint16_t Rounded(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t nearest = (bits + 0x7FFFU + ((bits >> 16U) & 1U)) >> 16U;
  const bool nan = (bits & 0x7FFFFFFFU) > 0x7F800000U;
  return static_cast<uint16_t>(nan ? 0x7FC0U : nearest);
}

RECPILE_INLINE bool Has(const Bf16Bags& bags, int64_t id) {
  return static_cast<uint64_t>(id) < static_cast<uint64_t>(bags.row_count);
}

RECPILE_INLINE Unaligned* RowOf(const Bf16Bags& bags, int64_t id) {
  return reinterpret_cast<Unaligned*>(bags.rows + id * bags.dim * 2);
}

RECPILE_INLINE void Prefetch(const Bf16Bags& bags, int64_t at, int64_t end) {
  if (at >= end || !Has(bags, bags.ids[at])) return;
  const auto* row = reinterpret_cast<const char*>(RowOf(bags, bags.ids[at]));
  const int64_t bytes = std::min(bags.dim * 2, kMostLines * kLine);
  for (int64_t i = 0; i < bytes; i += kLine) __builtin_prefetch(row + i);
  __builtin_prefetch(row + bytes - 1);
}

template <bool kWeighted>
RECPILE_INLINE float Term(uint16_t element, float weight) {
  return kWeighted ? Widened(element) * weight : Widened(element);
}

// Adds columns [first, first + size) of ids [at, at + kTogether), all of which the table has; to zero if kFresh.
template <bool kWeighted, bool kFresh>
RECPILE_INLINE void AddFour(const Bf16Bags& bags, int64_t at, int64_t first, int64_t size, float* __restrict sums) {
  Unaligned* const __restrict a = RowOf(bags, bags.ids[at]) + first;
  Unaligned* const __restrict b = RowOf(bags, bags.ids[at + 1]) + first;
  Unaligned* const __restrict c = RowOf(bags, bags.ids[at + 2]) + first;
  Unaligned* const __restrict d = RowOf(bags, bags.ids[at + 3]) + first;
  const float wa = kWeighted ? bags.weights[at] : 1, wb = kWeighted ? bags.weights[at + 1] : 1;
  const float wc = kWeighted ? bags.weights[at + 2] : 1, wd = kWeighted ? bags.weights[at + 3] : 1;
  for (int64_t i = 0; i < size; ++i) {
    float sum = kFresh ? 0.0F : sums[i];
    sum += Term<kWeighted>(a[i], wa);
    sum += Term<kWeighted>(b[i], wb);
    sum += Term<kWeighted>(c[i], wc);
    sum += Term<kWeighted>(d[i], wd);
    sums[i] = sum;
  }
}

template <bool kWeighted, bool kFresh>
RECPILE_INLINE void AddOne(const Bf16Bags& bags, int64_t at, int64_t first, int64_t size, float* __restrict sums) {
  if (!Has(bags, bags.ids[at])) {
    if (kFresh) std::fill_n(sums, size, 0.0F);
    return;
  }
  Unaligned* const __restrict row = RowOf(bags, bags.ids[at]) + first;
  const float weight = kWeighted ? bags.weights[at] : 1;
  for (int64_t i = 0; i < size; ++i) sums[i] = (kFresh ? 0.0F : sums[i]) + Term<kWeighted>(row[i], weight);
}

RECPILE_INLINE bool HasFour(const Bf16Bags& bags, int64_t at) {
  return Has(bags, bags.ids[at]) && Has(bags, bags.ids[at + 1]) && Has(bags, bags.ids[at + 2]) &&
         Has(bags, bags.ids[at + 3]);
}

// Columns [first, first + size) of ids from `at` on, of a bag that ends at `end`. Returns how many ids.
template <bool kWeighted, bool kFresh>
RECPILE_INLINE int64_t AddSome(const Bf16Bags& bags, int64_t at, int64_t end, int64_t first, int64_t size,
                               float* sums) {
  const bool four = at + kTogether <= end && HasFour(bags, at);
  const int64_t count = four ? kTogether : 1;
  if (first == 0) {
    for (int64_t i = 0; i < count; ++i) Prefetch(bags, at + kAhead + i, bags.offsets[bags.bags]);
  }
  if (four) {
    AddFour<kWeighted, kFresh>(bags, at, first, size, sums);
  } else {
    AddOne<kWeighted, kFresh>(bags, at, first, size, sums);
  }
  return count;
}

// Columns [first, first + size) of one bag.
template <bool kWeighted>
RECPILE_INLINE void SumBag(const Bf16Bags& bags, int64_t bag, bool mean, int64_t first, int64_t size, float* sums) {
  const int64_t start = bags.offsets[bag], end = bags.offsets[bag + 1];
  if (end <= start) {
    std::fill_n(sums, size, 0.0F);
    return;
  }
  int64_t at = start;
  at += AddSome<kWeighted, true>(bags, at, end, first, size, sums);
  while (at < end) at += AddSome<kWeighted, false>(bags, at, end, first, size, sums);
  if (!mean) return;
  const auto count = static_cast<float>(end - start);
  for (int64_t i = 0; i < size; ++i) sums[i] /= count;
}

RECPILE_INLINE void PrefetchFirst(const Bf16Bags& bags) {
  const int64_t start = bags.offsets[0], last = bags.offsets[bags.bags];
  for (int64_t at = start; at < std::min(start + kAhead, last); ++at) Prefetch(bags, at, last);
}

template <bool kWeighted, typename To>
RECPILE_INLINE void PoolAll(const Bf16Bags& bags, bool mean, To* to, int64_t stride) {
  PrefetchFirst(bags);
  for (int64_t bag = 0; bag < bags.bags; ++bag) {
    To* const out = to + bag * stride;
    if constexpr (std::is_same_v<To, float>) {
      SumBag<kWeighted>(bags, bag, mean, 0, bags.dim, out);
    } else {
      alignas(kLine) float sums[kColumns];
      for (int64_t first = 0; first < bags.dim; first += kColumns) {
        const int64_t size = std::min(kColumns, bags.dim - first);
        SumBag<kWeighted>(bags, bag, mean, first, size, sums);
        for (int64_t i = 0; i < size; ++i) out[first + i] = Rounded(sums[i]);
      }
    }
  }
}

template <typename To>
RECPILE_INLINE void Pool(const Bf16Bags& bags, bool mean, To* to, int64_t stride) {
  if (bags.weights != nullptr) {
    PoolAll<true>(bags, mean, to, stride);
  } else {
    PoolAll<false>(bags, mean, to, stride);
  }
}

template <typename To>
RECPILE_INLINE void Copy(const Bf16Bags& bags, To* to) {
  PrefetchFirst(bags);
  const int64_t last = bags.offsets[bags.bags];
  for (int64_t at = bags.offsets[0]; at < last; ++at, to += bags.dim) {
    Prefetch(bags, at + kAhead, last);
    if (!Has(bags, bags.ids[at])) {
      std::fill_n(to, bags.dim, To{0});
      continue;
    }
    Unaligned* const __restrict row = RowOf(bags, bags.ids[at]);
    To* const __restrict out = to;
    for (int64_t i = 0; i < bags.dim; ++i) {
      if constexpr (std::is_same_v<To, float>) {
        out[i] = Widened(row[i]);
      } else {
        out[i] = row[i];
      }
    }
  }
}

// The same code three times: the compiler writes it in the widest vectors that each may use.
#if defined(__x86_64__)
template <typename To>
[[gnu::target("avx2")]] void PoolAvx2(const Bf16Bags& bags, bool mean, To* to, int64_t stride) {
  Pool(bags, mean, to, stride);
}
template <typename To>
[[gnu::target("avx512f,avx512bw,avx512vl")]] void PoolAvx512(const Bf16Bags& bags, bool mean, To* to, int64_t stride) {
  Pool(bags, mean, to, stride);
}
template <typename To>
[[gnu::target("avx2")]] void CopyAvx2(const Bf16Bags& bags, To* to) {
  Copy(bags, to);
}
template <typename To>
[[gnu::target("avx512f,avx512bw,avx512vl")]] void CopyAvx512(const Bf16Bags& bags, To* to) {
  Copy(bags, to);
}
#endif

template <typename To>
void PoolAt(const Bf16Bags& bags, bool mean, To* to, int64_t stride, CpuLevel level) {
#if defined(__x86_64__)
  if (level == CpuLevel::kAvx512) return PoolAvx512(bags, mean, to, stride);
  if (level == CpuLevel::kAvx2) return PoolAvx2(bags, mean, to, stride);
#endif
  Pool(bags, mean, to, stride);
}

template <typename To>
void CopyAt(const Bf16Bags& bags, To* to, CpuLevel level) {
#if defined(__x86_64__)
  if (level == CpuLevel::kAvx512) return CopyAvx512(bags, to);
  if (level == CpuLevel::kAvx2) return CopyAvx2(bags, to);
#endif
  Copy(bags, to);
}

}  // namespace

CpuLevel BestCpuLevel() {
#if defined(__x86_64__)
  static const CpuLevel best = [] {
    const bool avx512 =
        __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    if (avx512) return CpuLevel::kAvx512;
    return __builtin_cpu_supports("avx2") ? CpuLevel::kAvx2 : CpuLevel::kPlain;
  }();
  return best;
#else
  return CpuLevel::kPlain;
#endif
}

void PoolBf16(const Bf16Bags& bags, bool mean, float* to, int64_t stride, CpuLevel level) {
  PoolAt(bags, mean, to, stride, level);
}
void PoolBf16(const Bf16Bags& bags, bool mean, uint16_t* to, int64_t stride, CpuLevel level) {
  PoolAt(bags, mean, to, stride, level);
}
void CopyBf16Rows(const Bf16Bags& bags, float* to, CpuLevel level) { CopyAt(bags, to, level); }
void CopyBf16Rows(const Bf16Bags& bags, uint16_t* to, CpuLevel level) { CopyAt(bags, to, level); }

}  // namespace recpile
