#pragma once

#include <cstdint>

// Products by a warpgroup on the tensor cores (sm_90a): d (64 x N, f32) = [d +] a (64 x 16) * b (16 x N), asynchronous.
//
// d[n / 8][i] and a in registers are laid out as in ptx/mma.cuh, warp w holding rows 16 w to 16 w + 15. b, or a where
// it is not in registers, lies in shared memory as copies of boxes with a swizzle leave it and is named by a
// descriptor.
//
// In order: wgmma_fence() once what was written to d and a by other instructions must be seen; products;
// wgmma_commit(); wgmma_wait<n>() until at most the n latest commits are pending. Between product and wait neither d
// nor a may be touched, which the compiler does not know: hold() around them.
namespace vistazo::cuda::ptx {

__device__ inline void wgmma_fence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ inline void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int kPending>
__device__ inline void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

// The compiler may neither compute these registers after this point nor read them before it.
template <int kRows, int kColumns>
__device__ inline void hold(float (&x)[kRows][kColumns]) {
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
#pragma unroll
    for (int j = 0; j < kColumns; ++j) asm volatile("" : "+f"(x[i][j])::"memory");
  }
}
template <int kRows, int kColumns>
__device__ inline void hold(std::uint32_t (&x)[kRows][kColumns]) {
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
#pragma unroll
    for (int j = 0; j < kColumns; ++j) asm volatile("" : "+r"(x[i][j])::"memory");
  }
}

// Rows of 32, 64 or 128 bytes in shared memory, swizzled over as many bytes, at a multiple of 8 rows. Such an operand
// goes along the product's inner dimension within a row (K-major: 16 elements are 32 bytes) or along rows (transposed:
// 16 elements are 16 rows). `panel_bytes`: from one set of columns of that width to the next, for a transposed operand
// that is wider.
template <int kRowBytes>
__device__ inline std::uint64_t wgmma_descriptor(const void* shared, int panel_bytes = 16) {
  static_assert(kRowBytes == 32 || kRowBytes == 64 || kRowBytes == 128);
  constexpr std::uint64_t kSwizzle = kRowBytes == 128 ? 1 : kRowBytes == 64 ? 2 : 3;
  const std::uint64_t address = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
  return address >> 4 | static_cast<std::uint64_t>(panel_bytes >> 4) << 16 | std::uint64_t{8 * kRowBytes >> 4} << 32 |
         kSwizzle << 62;
}
// The descriptor of what lies `bytes` behind: no address reaches the upper half.
__device__ inline std::uint64_t advance(std::uint64_t descriptor, int bytes) {
  const auto low = static_cast<std::uint32_t>(descriptor) + static_cast<std::uint32_t>(bytes >> 4);
  return (descriptor & 0xffffffff00000000u) | low;
}

// The instruction names up to 128 registers of d, so its text is put together here. TYPE and COLUMNS are the
// instruction's, NAMES and DATA those registers, and Na .. Nf the numbers of the operands behind them.
#define VISTAZO_ROW(i) "+f"(d[i][0]), "+f"(d[i][1]), "+f"(d[i][2]), "+f"(d[i][3])
#define VISTAZO_ROWS(i) VISTAZO_ROW(i), VISTAZO_ROW(i + 1), VISTAZO_ROW(i + 2), VISTAZO_ROW(i + 3)
#define VISTAZO_NAMES_16 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define VISTAZO_NAMES_32                                                   \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define VISTAZO_NAMES_48                                                             \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "           \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define VISTAZO_NAMES_64                                                             \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "           \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"

#define VISTAZO_NAMES_96                                                             \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "           \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, " \
  "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
  "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define VISTAZO_NAMES_128                                                                        \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                       \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "             \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "             \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "             \
  "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "             \
  "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "             \
  "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, " \
  "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"

#define VISTAZO_WGMMA(COLUMNS, TYPE, NAMES, Na, Nb, Nc, Nd, Ne, Nf, ...)                                              \
  __device__ inline void wgmma_f32_##TYPE(float(&d)[COLUMNS / 8][4], std::uint64_t a, std::uint64_t b,                \
                                          bool is_added) {                                                            \
    asm volatile("{\n.reg .pred is_added;\nsetp.ne.b32 is_added, %" #Nc                                               \
                 ", 0;\nwgmma.mma_async.sync.aligned.m64n" #COLUMNS "k16.f32." #TYPE "." #TYPE " {" NAMES "}, %" #Na  \
                 ", %" #Nb ", is_added, 1, 1, 0, 0;\n}"                                                               \
                 : __VA_ARGS__                                                                                        \
                 : "l"(a), "l"(b), "r"(static_cast<int>(is_added))                                                    \
                 : "memory");                                                                                         \
  }                                                                                                                   \
  __device__ inline void wgmma_f32_##TYPE(float(&d)[COLUMNS / 8][4], std::uint32_t a0, std::uint32_t a1,              \
                                          std::uint32_t a2, std::uint32_t a3, std::uint64_t b, bool is_added) {       \
    asm volatile("{\n.reg .pred is_added;\nsetp.ne.b32 is_added, %" #Nf                                               \
                 ", 0;\nwgmma.mma_async.sync.aligned.m64n" #COLUMNS "k16.f32." #TYPE "." #TYPE " {" NAMES "}, {%" #Na \
                 ", %" #Nb ", %" #Nc ", %" #Nd "}, %" #Ne ", is_added, 1, 1, 1;\n}"                                   \
                 : __VA_ARGS__                                                                                        \
                 : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "l"(b), "r"(static_cast<int>(is_added))                        \
                 : "memory");                                                                                         \
  }                                                                                                                   \
  __device__ inline void wgmma_f32_##TYPE##_k_major(float(&d)[COLUMNS / 8][4], std::uint32_t a0, std::uint32_t a1,    \
                                                    std::uint32_t a2, std::uint32_t a3, std::uint64_t b,              \
                                                    bool is_added) {                                                  \
    asm volatile("{\n.reg .pred is_added;\nsetp.ne.b32 is_added, %" #Nf                                               \
                 ", 0;\nwgmma.mma_async.sync.aligned.m64n" #COLUMNS "k16.f32." #TYPE "." #TYPE " {" NAMES "}, {%" #Na \
                 ", %" #Nb ", %" #Nc ", %" #Nd "}, %" #Ne ", is_added, 1, 1, 0;\n}"                                   \
                 : __VA_ARGS__                                                                                        \
                 : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "l"(b), "r"(static_cast<int>(is_added))                        \
                 : "memory");                                                                                         \
  }

// a and b in shared memory, both K-major; a in registers, b transposed; and a in registers, b K-major.
VISTAZO_WGMMA(32, f16, VISTAZO_NAMES_16, 16, 17, 18, 19, 20, 21, VISTAZO_ROWS(0))
VISTAZO_WGMMA(64, f16, VISTAZO_NAMES_32, 32, 33, 34, 35, 36, 37, VISTAZO_ROWS(0), VISTAZO_ROWS(4))
VISTAZO_WGMMA(96, f16, VISTAZO_NAMES_48, 48, 49, 50, 51, 52, 53, VISTAZO_ROWS(0), VISTAZO_ROWS(4), VISTAZO_ROWS(8))
VISTAZO_WGMMA(128, f16, VISTAZO_NAMES_64, 64, 65, 66, 67, 68, 69, VISTAZO_ROWS(0), VISTAZO_ROWS(4), VISTAZO_ROWS(8),
              VISTAZO_ROWS(12))
VISTAZO_WGMMA(192, f16, VISTAZO_NAMES_96, 96, 97, 98, 99, 100, 101, VISTAZO_ROWS(0), VISTAZO_ROWS(4), VISTAZO_ROWS(8),
              VISTAZO_ROWS(12), VISTAZO_ROWS(16), VISTAZO_ROWS(20))
VISTAZO_WGMMA(256, f16, VISTAZO_NAMES_128, 128, 129, 130, 131, 132, 133, VISTAZO_ROWS(0), VISTAZO_ROWS(4),
              VISTAZO_ROWS(8), VISTAZO_ROWS(12), VISTAZO_ROWS(16), VISTAZO_ROWS(20), VISTAZO_ROWS(24), VISTAZO_ROWS(28))
VISTAZO_WGMMA(32, bf16, VISTAZO_NAMES_16, 16, 17, 18, 19, 20, 21, VISTAZO_ROWS(0))
VISTAZO_WGMMA(64, bf16, VISTAZO_NAMES_32, 32, 33, 34, 35, 36, 37, VISTAZO_ROWS(0), VISTAZO_ROWS(4))
VISTAZO_WGMMA(96, bf16, VISTAZO_NAMES_48, 48, 49, 50, 51, 52, 53, VISTAZO_ROWS(0), VISTAZO_ROWS(4), VISTAZO_ROWS(8))
VISTAZO_WGMMA(128, bf16, VISTAZO_NAMES_64, 64, 65, 66, 67, 68, 69, VISTAZO_ROWS(0), VISTAZO_ROWS(4), VISTAZO_ROWS(8),
              VISTAZO_ROWS(12))
VISTAZO_WGMMA(192, bf16, VISTAZO_NAMES_96, 96, 97, 98, 99, 100, 101, VISTAZO_ROWS(0), VISTAZO_ROWS(4), VISTAZO_ROWS(8),
              VISTAZO_ROWS(12), VISTAZO_ROWS(16), VISTAZO_ROWS(20))
VISTAZO_WGMMA(256, bf16, VISTAZO_NAMES_128, 128, 129, 130, 131, 132, 133, VISTAZO_ROWS(0), VISTAZO_ROWS(4),
              VISTAZO_ROWS(8), VISTAZO_ROWS(12), VISTAZO_ROWS(16), VISTAZO_ROWS(20), VISTAZO_ROWS(24), VISTAZO_ROWS(28))

#undef VISTAZO_WGMMA
#undef VISTAZO_NAMES_16
#undef VISTAZO_NAMES_32
#undef VISTAZO_NAMES_48
#undef VISTAZO_NAMES_64
#undef VISTAZO_NAMES_96
#undef VISTAZO_NAMES_128
#undef VISTAZO_ROWS
#undef VISTAZO_ROW

}  // namespace vistazo::cuda::ptx
