// Products of shallow convolutions by mma.sync, from compute capability 8.0 on: the weight is read from shared memory
// by every warp. Of 64 channels and 4 lines a step of 16 channels along one column of the kernel reads 3 KB of pixels
// and 6 KB of weight for 96 products of 16 x 8 x 16.
#include "kernels/cuda/ptx/mma.cuh"
#include "kernels/cuda/shallow/kernel.cuh"

namespace vistazo::cuda {
namespace {

template <typename T, typename Tile>
struct MmaProducts {
  static constexpr int kPairs = Tile::kColumns / 16;

  __device__ static void publish() {}

  __device__ static void multiply(float (&sums)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
    if constexpr (std::is_same_v<T, __half>) {
      ptx::mma_m16n8k16_f32_f16(sums, a, b0, b1);
    } else {
      ptx::mma_m16n8k16_f32_bf16(sums, a, b0, b1);
    }
  }

  __device__ static void multiply_unit(float (&sums)[Tile::kLines][Tile::kColumns / 8][4], const unsigned char* stage,
                                       const unsigned char* weight) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const unsigned char* const pixels = lane_pixels_of<Tile>(stage);
    const int row = lane / 16 * 8 + lane % 8;  // of 16; 16 rows further the chunks change places as here
#pragma unroll
    for (int k = 0; k < Tile::kUnit / 16; ++k) {
      const unsigned char* const rows =
          weight + row * Tile::kRowBytes + swizzled_chunk<Tile::kRowBytes>(row, 2 * k + lane / 8 % 2) * 16;
#pragma unroll
      for (int tap_column = 0; tap_column < kSide; ++tap_column) {
        std::uint32_t a[Tile::kWarpInLines][4];
        load_pixels<Tile>(a, pixels, tap_column, k);
#pragma unroll
        for (int tap_row = 0; tap_row < kSide; ++tap_row) {
          std::uint32_t b[kPairs][4];
#pragma unroll
          for (int j = 0; j < kPairs; ++j) {
            ptx::ldmatrix_x4(b[j],
                             rows + (tap_row * kSide + tap_column) * Tile::kPanelBytes + 16 * j * Tile::kRowBytes);
          }
#pragma unroll
          for (int i = 0; i < Tile::kLines; ++i) {
#pragma unroll
            for (int j = 0; j < kPairs; ++j) {
              multiply(sums[i][2 * j], a[i * Tile::kStride + tap_row], b[j][0], b[j][1]);
              multiply(sums[i][2 * j + 1], a[i * Tile::kStride + tap_row], b[j][2], b[j][3]);
            }
          }
        }
      }
    }
  }
};

}  // namespace

void shallow_sm80(const char* name, const ShallowShape& shape, const ShallowLaunch& launch, CudaStream stream) {
  start_shallow<MmaProducts>(name, shape, launch, stream);
}

}  // namespace vistazo::cuda
