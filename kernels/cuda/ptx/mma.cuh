#pragma once

#include <cstdint>

// d (16x8, f32) += a (16x16) * b (16x8), by one warp (sm_80). Lane 4 g + t holds, two 16-bit elements to a register:
//   a[0] row g, columns 2 t, 2 t + 1;  a[1] row g + 8;  a[2] row g, columns 2 t + 8, 2 t + 9;  a[3] row g + 8
//   b0 rows 2 t, 2 t + 1 of column g;  b1 rows 2 t + 8, 2 t + 9
//   d[0], d[1] row g, columns 2 t, 2 t + 1;  d[2], d[3] row g + 8
namespace vistazo::cuda::ptx {

__device__ inline void mma_m16n8k16_f32_f16(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                            std::uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ inline void mma_m16n8k16_f32_bf16(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                             std::uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

}  // namespace vistazo::cuda::ptx
