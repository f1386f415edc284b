// cuda::PackedConvolution behind C functions, for bench_convolution.py.
#include <exception>
#include <memory>

#include "kernels/cuda/convolution.h"
#include "kernels/cuda/gemm/tiles.h"

using vistazo::Activation;
using vistazo::ConvolutionShape;
using vistazo::DType;
using vistazo::cuda::PackedConvolution;

extern "C" {

// weight (out, in, kernel, kernel) and bias (out), f32, in host memory. Null where it fails.
PackedConvolution* convolution_create(const float* weight, const float* bias, int in, int out, int kernel, int stride,
                                      int padding, int is_f16) {
  try {
    const ConvolutionShape shape{in, out, kernel, kernel, stride, padding};
    return std::make_unique<PackedConvolution>(weight, bias, shape, is_f16 != 0 ? DType::f16 : DType::bf16).release();
  } catch (const std::exception&) {
    return nullptr;
  }
}

void convolution_destroy(PackedConvolution* convolution) {
  delete convolution;
}

// Which kernel convolution_run() takes.
enum Kernel : int { kChosen, kSm80, kSm90, kShallow, kPlanes };

// With relu, on the stream. `tile`: one of the kernel's, or -1. kPlanes: x is (batch, in, height, width) in f32, else
// channels last in the weight's type. 0 where it succeeds, 1 where that kernel does not take the layer.
int convolution_run(const PackedConvolution* convolution, const void* x, void* y, int batch, int height, int width,
                    int is_f16, int kernel, int tile, void* stream) {
  try {
    using vistazo::cuda::GemmPath;
    constexpr GemmPath kPaths[] = {GemmPath::automatic, GemmPath::sm80, GemmPath::sm90, GemmPath::shallow,
                                   GemmPath::automatic};
    const vistazo::cuda::MatmulContext context{
        .stream = static_cast<vistazo::CudaStream>(stream), .path = kPaths[kernel], .tile = tile};
    convolution->run({.x = x,
                      .y = y,
                      .batch = batch,
                      .height = height,
                      .width = width,
                      .y_dtype = is_f16 != 0 ? DType::f16 : DType::bf16,
                      .activation = Activation::relu,
                      .is_x_planar = kernel == kPlanes},
                     context);
    return 0;
  } catch (const std::exception&) {
    return 1;
  }
}

int convolution_tiles() {
  return vistazo::cuda::kSm90Tiles;
}

// Steps and waves (kernels/cuda/gemm/tiles.h) of a convolution to so many f16 pixels in a tile of sm90; 1 where the
// tile cannot run it.
int convolution_work(int pixels, int in, int out, int kernel, int tile, float* steps_and_waves) {
  vistazo::cuda::Gemm gemm{};
  gemm.dtype = gemm.y_dtype = DType::f16;
  gemm.rows = pixels;
  gemm.columns = out;
  gemm.y_stride = out;
  gemm.groups = 1;
  gemm.channels = in;
  gemm.kernel_height = gemm.kernel_width = kernel;
  const vistazo::cuda::TileShape& shape = vistazo::cuda::sm90_tiles()[static_cast<std::size_t>(tile)];
  if (!can_run(shape, gemm)) return 1;
  const vistazo::cuda::TileWork work = work_of(shape, size_of(gemm));
  steps_and_waves[0] = work.steps;
  steps_and_waves[1] = work.waves;
  return 0;
}

}  // extern "C"
