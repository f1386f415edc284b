#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/gemm/gemm.h"

// Convolutions of 3 x 3, stride 1 or 2, over few channels: as matrix products they read every pixel nine times, and
// their sums are so short that reading is all they do. Here a tile of the image comes to shared memory once.
namespace vistazo::cuda {

struct ShallowLaunch {
  Gemm gemm;
  int tiles, tile_lines, tile_columns;  // of 16 pixels by some lines of y: in all, and along the sides of an image
  int column_tiles;                     // sets of channels of y
  int units;                            // sets of channels of x
  bool are_groups_stored;               // eight neighbouring channels of y in one or two stores of 16 bytes
};

// A kernel: its template's parameters. The channels of x pass through shared memory `unit` at a time.
struct ShallowShape {
  int stride;
  int lines;    // of y that a warp owns
  int unit;     // 16 or 32
  int columns;  // channels of y: 32 or 64

  int tile_lines() const { return 4 * lines; }
};

// Any kernel padding; f16 or bf16; 8 to 64 input channels in multiples of 8, pixels at multiples of 16 bytes. What
// comes out is not limited, but 64 channels of it at a time read the image.
bool can_run_shallow(const Gemm& gemm);
// `variant`: one of kShallowVariants, modulo their number, or negative to choose by the problem's size and the device.
// Even ones own 16 lines of y in a tile, odd ones 8; from 2 on wgmma multiplies, which needs compute capability 9.0.
void shallow_convolution(const char* name, const Gemm& gemm, int variant, CudaStream stream);

// The kernels, one file per instruction set.
void shallow_sm80(const char* name, const ShallowShape& shape, const ShallowLaunch& launch, CudaStream stream);
void shallow_sm90(const char* name, const ShallowShape& shape, const ShallowLaunch& launch, CudaStream stream);

}  // namespace vistazo::cuda
