#pragma once

#include <cuda_runtime_api.h>

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "tests/emulation/machine.h"

// CUDA C++ as the kernels use it, in C++.

#define __device__
#define __host__
#define __global__
#define __grid_constant__
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
// A block runs on a thread of the host that is its own (see machine.cpp).
#define __shared__ static thread_local

// Variables that are different for every thread: what they are read as.
template <const vistazo::emulation::Index3& (*kIndex)(), unsigned vistazo::emulation::Index3::*kMember>
struct VistazoCoordinate {
  operator unsigned() const { return kIndex().*kMember; }
};
template <const vistazo::emulation::Index3& (*kIndex)()>
struct VistazoIndex {
  VistazoCoordinate<kIndex, &vistazo::emulation::Index3::x> x;
  VistazoCoordinate<kIndex, &vistazo::emulation::Index3::y> y;
  VistazoCoordinate<kIndex, &vistazo::emulation::Index3::z> z;
};
inline constexpr VistazoIndex<vistazo::emulation::thread_index> threadIdx;
inline constexpr VistazoIndex<vistazo::emulation::block_index> blockIdx;
inline constexpr VistazoIndex<vistazo::emulation::block_size> blockDim;
inline constexpr VistazoIndex<vistazo::emulation::grid_size> gridDim;

#define VISTAZO_VECTORS(TYPE, NAME)                               \
  struct alignas(2 * sizeof(TYPE)) NAME##2 {                      \
    TYPE x, y;                                                    \
  };                                                              \
  struct NAME##3 {                                                \
    TYPE x, y, z;                                                 \
  };                                                              \
  struct alignas(4 * sizeof(TYPE)) NAME##4 {                      \
    TYPE x, y, z, w;                                              \
  };                                                              \
  inline NAME##2 make_##NAME##2(TYPE x, TYPE y) {                 \
    return {x, y};                                                \
  }                                                               \
  inline NAME##3 make_##NAME##3(TYPE x, TYPE y, TYPE z) {         \
    return {x, y, z};                                             \
  }                                                               \
  inline NAME##4 make_##NAME##4(TYPE x, TYPE y, TYPE z, TYPE w) { \
    return {x, y, z, w};                                          \
  }
VISTAZO_VECTORS(float, float)
VISTAZO_VECTORS(int, int)
VISTAZO_VECTORS(unsigned, uint)
VISTAZO_VECTORS(unsigned short, ushort)
VISTAZO_VECTORS(unsigned char, uchar)
#undef VISTAZO_VECTORS

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3() = default;
  constexpr dim3(unsigned x_, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

enum cudaLaunchAttributeID {
  cudaLaunchAttributeProgrammaticStreamSerialization,
  cudaLaunchAttributePreferredSharedMemoryCarveout,
  cudaLaunchAttributeClusterDimension
};
enum cudaSharedCarveout { cudaSharedmemCarveoutMaxShared = 100 };
struct cudaLaunchAttribute {
  cudaLaunchAttributeID id;
  struct {
    int programmaticStreamSerializationAllowed;
    unsigned sharedMemCarveout;
    struct {
      unsigned x, y, z;
    } clusterDim;
  } val;
};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  std::size_t dynamicSmemBytes;
  cudaStream_t stream;
  cudaLaunchAttribute* attrs;
  unsigned numAttrs;
};

template <typename Function>
cudaError_t cudaFuncSetAttribute(Function*, cudaFuncAttribute, int) {
  return cudaSuccess;
}

template <typename Parameters>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters),
                               const Parameters& parameters) {
  unsigned cluster = 1;
  for (unsigned i = 0; i < config->numAttrs; ++i) {
    if (config->attrs[i].id == cudaLaunchAttributeClusterDimension) cluster = config->attrs[i].val.clusterDim.x;
  }
  const vistazo::emulation::Grid grid{config->gridDim.x, config->blockDim.x, cluster, config->dynamicSmemBytes};
  vistazo::emulation::run_on(config->stream, [=] { vistazo::emulation::run_grid(grid, [&] { kernel(parameters); }); });
  return cudaSuccess;
}

// Threads of the block.
inline void __syncthreads() {
  vistazo::emulation::block_barrier(0, 0);
}
inline void __syncwarp(unsigned lanes = ~0u) {
  vistazo::emulation::collective(lanes, nullptr, [](vistazo::emulation::Lanes) {});
}

// What a lane gives, the lane it asks for, and what it gets.
template <typename T, typename Choose>
T vistazo_shuffle(unsigned lanes, T value, int source, Choose) {
  struct Mine {
    T value;
    int source;
    T result;
  } mine{value, source, value};
  vistazo::emulation::collective(lanes, &mine, [](vistazo::emulation::Lanes all) {
    for (std::size_t i = 0; i < 32; ++i) {
      if (all[i] == nullptr) continue;
      Mine& one = *static_cast<Mine*>(all[i]);
      const int from = Choose{}(static_cast<int>(i), one.source);
      if (from < 0 || from > 31) continue;  // keeps its own
      if (all[static_cast<std::size_t>(from)] == nullptr)
        vistazo::emulation::fail("shuffles from a lane that is not there");
      one.result = static_cast<Mine*>(all[static_cast<std::size_t>(from)])->value;
    }
  });
  return mine.result;
}
template <typename T>
T __shfl_sync(unsigned lanes, T value, int source) {
  return vistazo_shuffle(lanes, value, source, [](int, int from) { return from & 31; });
}
template <typename T>
T __shfl_xor_sync(unsigned lanes, T value, int mask) {
  return vistazo_shuffle(lanes, value, mask, [](int own, int other) { return own ^ other; });
}
template <typename T>
T __shfl_down_sync(unsigned lanes, T value, unsigned delta) {
  return vistazo_shuffle(lanes, value, static_cast<int>(delta), [](int own, int by) { return own + by; });
}
template <typename T>
T __shfl_up_sync(unsigned lanes, T value, unsigned delta) {
  return vistazo_shuffle(lanes, value, static_cast<int>(delta), [](int own, int by) { return own - by; });
}
inline unsigned __ballot_sync(unsigned lanes, int is_true) {
  struct Mine {
    int is_true;
    unsigned result;
  } mine{is_true, 0};
  vistazo::emulation::collective(lanes, &mine, [](vistazo::emulation::Lanes all) {
    unsigned result = 0;
    for (std::size_t i = 0; i < 32; ++i) {
      if (all[i] != nullptr && static_cast<Mine*>(all[i])->is_true != 0) result |= 1u << i;
    }
    for (void* one : all) {
      if (one != nullptr) static_cast<Mine*>(one)->result = result;
    }
  });
  return mine.result;
}
inline int __any_sync(unsigned lanes, int is_true) {
  return __ballot_sync(lanes, is_true) != 0;
}
inline int __all_sync(unsigned lanes, int is_true) {
  return __ballot_sync(lanes, !is_true) == 0;
}
template <typename T>
T __reduce_add_sync(unsigned lanes, T value) {
  T sum = 0;
  for (int i = 0; i < 32; ++i) {
    if (lanes >> i & 1) sum += __shfl_sync(lanes, value, i);
  }
  return sum;
}

// Only one thread of a block runs at a time, and no kernel of ours shares a counter between blocks.
template <typename T>
T atomicAdd(T* to, T value) {
  const T before = *to;
  *to = before + value;
  return before;
}

// Arithmetic. Approximations are exact here.
inline float __fdividef(float x, float y) {
  return x / y;
}
inline float __expf(float x) {
  return std::exp(x);
}
inline float rsqrtf(float x) {
  return 1.0f / std::sqrt(x);
}
inline void sincospif(float x, float* sine, float* cosine) {
  *sine = static_cast<float>(std::sin(3.14159265358979323846 * x));
  *cosine = static_cast<float>(std::cos(3.14159265358979323846 * x));
}
inline double __dadd_rn(double x, double y) {
  return x + y;
}
inline double __dmul_rn(double x, double y) {
  return x * y;
}
inline unsigned __float_as_uint(float x) {
  return std::bit_cast<unsigned>(x);
}
inline int __float_as_int(float x) {
  return std::bit_cast<int>(x);
}
inline float __uint_as_float(unsigned x) {
  return std::bit_cast<float>(x);
}
inline float __int_as_float(int x) {
  return std::bit_cast<float>(x);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned bits) {
  return static_cast<unsigned>((std::uint64_t{high} << 32 | low) >> (bits & 31));
}
template <typename T>
constexpr T min(T x, T y) {
  return y < x ? y : x;
}
template <typename T>
constexpr T max(T x, T y) {
  return x < y ? y : x;
}
