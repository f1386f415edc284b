#pragma once

#include <cstdint>

// Four 8x8 matrices of 16-bit elements from shared memory (sm_75). Lane 8 i + r gives the address of row r of matrix i,
// 16 bytes at a multiple of 16. Lane 4 g + t receives in r[i] elements 2 t (low half) and 2 t + 1 of row g of matrix i.
namespace vistazo::cuda::ptx {

__device__ inline void ldmatrix_x4(std::uint32_t (&r)[4], const void* shared_row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(static_cast<std::uint32_t>(__cvta_generic_to_shared(shared_row)))
               : "memory");
}

// Each matrix transposed: lane 4 g + t receives elements g of rows 2 t and 2 t + 1.
__device__ inline void ldmatrix_x4_trans(std::uint32_t (&r)[4], const void* shared_row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(static_cast<std::uint32_t>(__cvta_generic_to_shared(shared_row)))
               : "memory");
}

}  // namespace vistazo::cuda::ptx
