#pragma once

#include <cuda_runtime_api.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "kernels/base/dtype.h"
#include "kernels/base/error.h"
#include "kernels/cuda/gemm/tiles.h"
#include "kernels/cuda/matmul_context.h"
#include "tests/cuda/activation_error.h"
#include "tests/support/buffers.h"

// What the tests of products on the device share.
namespace vistazo::testing {

using GemmContext = cuda::MatmulContext;

// Calls body(context, dtype) for every kernel that this device has and every dtype that the kernel takes.
template <typename Body>
void for_each_gemm_path(Body&& body) {
  GemmContext context;
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) body(context, dtype);
  context.path = cuda::GemmPath::sm80;
  body(context, DType::f16);
  context.path = cuda::GemmPath::simt;
  body(context, DType::bf16);
}

inline bool has_wgmma() {
  int major = 0, minor = 0;
  check_cuda(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0), "cudaDeviceGetAttribute");
  check_cuda(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0), "cudaDeviceGetAttribute");
  if (major == 9 && minor == 0) return true;
  MESSAGE("not tested: this device has no wgmma");
  return false;
}

// The same for every tile shape of sm90, where the device has it. So few multiprocessors that blocks have several
// tiles.
template <typename Body>
void for_each_sm90_tile(Body&& body) {
  if (!has_wgmma()) return;
  GemmContext context{.path = cuda::GemmPath::sm90, .multiprocessors = 2};
  for (context.tile = 0; context.tile < cuda::kSm90Tiles; ++context.tile) {
    body(context, context.tile % 2 == 0 ? DType::bf16 : DType::f16);
  }
}

// The same for the kernel of shallow convolutions: in all variants that the device has, and as it chooses itself.
template <typename Body>
void for_each_shallow_variant(Body&& body) {
  GemmContext context{.path = cuda::GemmPath::shallow};
  const int variants = has_wgmma() ? cuda::kShallowVariants : 2;
  for (context.tile = -1; context.tile < variants; ++context.tile) {
    body(context, context.tile % 2 == 0 ? DType::bf16 : DType::f16);
  }
}

// Whether the context forces a tile shape of sm90's persistent kernels.
inline bool is_persistent(const GemmContext& context) {
  return context.path == cuda::GemmPath::sm90 && context.tile >= 0 &&
         cuda::sm90_tiles()[static_cast<std::size_t>(context.tile)].kernel != cuda::TileKernel::single;
}

// Whether it ran: a forced tile shape of sm90's persistent kernels may refuse the problem.
template <typename Run>
bool runs(const GemmContext& context, Run&& run) {
  try {
    run();
    return true;
  } catch (const Error& error) {
    if (!is_persistent(context) || error.code != Error::Code::unsupported) throw;
    return false;
  }
}

// Whether the sums of a product that adds to y may begin with it: the persistent kernels, and what may choose them.
inline bool begins_with_y(const GemmContext& context, DType dtype) {
  const bool is_chosen = context.path == cuda::GemmPath::sm90 && context.tile < 0;
  return dtype != DType::f32 && (context.path == cuda::GemmPath::automatic || is_chosen || is_persistent(context));
}

// Twice the error of the plain f32 loop, the rounding of the output, and 1e-6 for erff and expf near their largest
// value. length: products of a sum that may begin with y, else 0. To such a sum tensor cores add 16 products at a time
// and cut off, not round, what does not fit: a unit in y's last place each time, at most.
inline double gemm_tolerance(const std::vector<float>& plain, const std::vector<double>& expected, DType y_dtype,
                             std::int64_t length, Activation activation) {
  double largest = 1.0;
  for (const double v : expected) largest = std::max(largest, std::abs(v));
  const double rounding = y_dtype == DType::f32 ? 0x1p-22 : y_dtype == DType::f16 ? 0x1p-11 : 0x1p-8;
  const double cut_off = 0x1p-23 * static_cast<double>((length + 15) / 16);
  return 2 * max_difference(plain, expected) +
         largest * (rounding + cut_off + activation_error(y_dtype, activation) + 1e-6);
}

}  // namespace vistazo::testing
