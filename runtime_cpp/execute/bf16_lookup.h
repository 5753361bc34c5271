// Lookups in tables of bf16 rows, which FBGEMM's inference kernels for CPUs do not read. Plain C++: no torch.
#pragma once

#include <cstddef>
#include <cstdint>

namespace recpile {

// One feature's bags over one table: bag n is ids [offsets[n], offsets[n + 1]). An id that the table does not have is a
// row of zeros, and nothing is read for it.
struct Bf16Bags {
  const std::byte* rows = nullptr;  // [row_count, dim] bf16, of any alignment
  int64_t row_count = 0;
  int64_t dim = 0;
  const int64_t* ids = nullptr;
  const int64_t* offsets = nullptr;
  const float* weights = nullptr;  // one an id; null if unweighted
  int64_t bags = 0;
};

// What of the CPU may be used. Every level gives the same bits: rows are widened to fp32, multiplied by their weights
// and added to zero in the order of the ids, each step rounded by itself (pycompiler/bf16_lookup.py does the same).
enum class CpuLevel { kPlain, kAvx2, kAvx512 };

// The best one of this machine.
CpuLevel BestCpuLevel();

// Bag n's sum, divided by its number of ids if `mean`, into to[n * stride, n * stride + dim): fp32, or the bits of bf16
// rounded to nearest even.
void PoolBf16(const Bf16Bags& bags, bool mean, float* to, int64_t stride, CpuLevel level = BestCpuLevel());
void PoolBf16(const Bf16Bags& bags, bool mean, uint16_t* to, int64_t stride, CpuLevel level = BestCpuLevel());

// Every id's row by itself, one behind the other. Weights are not looked at.
void CopyBf16Rows(const Bf16Bags& bags, float* to, CpuLevel level = BestCpuLevel());
void CopyBf16Rows(const Bf16Bags& bags, uint16_t* to, CpuLevel level = BestCpuLevel());

}  // namespace recpile
