// Products of shallow convolutions by wgmma, on compute capability 9.0: the group's four warps read the weight together
// through a descriptor. Left operands stay in registers, for the halo leaves no rows that a descriptor could name.
#include "kernels/cuda/ptx/fence.cuh"
#include "kernels/cuda/ptx/wgmma.cuh"
#include "kernels/cuda/shallow/kernel.cuh"

namespace vistazo::cuda {
namespace {

template <typename T, typename Tile>
struct WgmmaProducts {
  // The weight was copied by threads and is read by the asynchronous proxy.
  __device__ static void publish() { ptx::fence_proxy_async(); }

  __device__ static void multiply(float (&sums)[Tile::kColumns / 8][4], const std::uint32_t (&a)[4], std::uint64_t b) {
    if constexpr (std::is_same_v<T, __half>) {
      ptx::wgmma_f32_f16_k_major(sums, a[0], a[1], a[2], a[3], b, true);
    } else {
      ptx::wgmma_f32_bf16_k_major(sums, a[0], a[1], a[2], a[3], b, true);
    }
  }

  __device__ static void multiply_unit(float (&sums)[Tile::kLines][Tile::kColumns / 8][4], const unsigned char* stage,
                                       const unsigned char* weight) {
    constexpr int kSteps = kSide * Tile::kUnit / 16;
    const unsigned char* const pixels = lane_pixels_of<Tile>(stage);
    const std::uint64_t b = ptx::wgmma_descriptor<Tile::kRowBytes>(weight);
    std::uint32_t a[2][Tile::kWarpInLines][4];  // products read one while the other is filled
    load_pixels<Tile>(a[0], pixels, 0, 0);
#pragma unroll
    for (int i = 0; i < Tile::kLines; ++i) ptx::hold(sums[i]);
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      const int tap_column = step % kSide, k = step / kSide;
      ptx::hold(a[step % 2]);
      ptx::wgmma_fence();
#pragma unroll
      for (int tap_row = 0; tap_row < kSide; ++tap_row) {
        const std::uint64_t panel = ptx::advance(b, (tap_row * kSide + tap_column) * Tile::kPanelBytes + k * 32);
#pragma unroll
        for (int i = 0; i < Tile::kLines; ++i) multiply(sums[i], a[step % 2][i * Tile::kStride + tap_row], panel);
      }
      ptx::wgmma_commit();
      if (step + 1 == kSteps) break;
      if (step > 0) {
        ptx::wgmma_wait<1>();
        ptx::hold(a[(step + 1) % 2]);
      }
      load_pixels<Tile>(a[(step + 1) % 2], pixels, (step + 1) % kSide, (step + 1) / kSide);
    }
    ptx::wgmma_wait<0>();
#pragma unroll
    for (int i = 0; i < Tile::kLines; ++i) ptx::hold(sums[i]);
  }
};

}  // namespace

void shallow_sm90(const char* name, const ShallowShape& shape, const ShallowLaunch& launch, CudaStream stream) {
  start_shallow<WgmmaProducts>(name, shape, launch, stream);
}

}  // namespace vistazo::cuda
