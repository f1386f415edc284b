// cuda::PackedConvolution behind C functions, for bench_convolution.py.
#include <exception>
#include <memory>

#include "kernels/cuda/convolution.h"

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

}  // extern "C"
