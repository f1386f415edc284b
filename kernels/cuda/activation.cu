// Activations on CUDA: a thread owns four adjacent elements, or one where they are not aligned. Limited by memory.
#include "kernels/activation.h"
#include "kernels/base/error.h"
#include "kernels/cuda/activation.cuh"
#include "kernels/cuda/group.cuh"
#include "kernels/cuda/index.cuh"
#include "kernels/cuda/launch.cuh"

namespace vistazo::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kGroup = 4;

template <int kCount>
__global__ void __launch_bounds__(kThreads) activation_kernel(const __grid_constant__ ActivationArgs args) {
  dependent_launch();
  const std::int64_t element = thread_of_grid<kThreads>() * kCount;
  if (element >= args.count) return;
  float values[kCount];
  load_group(values, args.x, element, args.dtype);
#pragma unroll
  for (int i = 0; i < kCount; ++i) values[i] = activate(values[i], args.activation);
  store_group(args.y, element, args.dtype, values);
}

}  // namespace

void activation(const ActivationArgs& args, CudaStream stream) {
  if (!is_float(args.dtype)) {
    fail(Error::Code::unsupported, "activation: dtype {}; f32, f16 or bf16 is needed", name_of(args.dtype));
  }
  if (args.count < 0) fail(Error::Code::argument, "activation: {} elements", args.count);
  if (args.count == 0) return;
  const bool is_grouped = are_groups_aligned(kGroup, args.x, args.count, args.dtype) &&
                          are_groups_aligned(kGroup, args.y, args.count, args.dtype);
  const int count = is_grouped ? kGroup : 1;
  launch("activation", is_grouped ? activation_kernel<kGroup> : activation_kernel<1>,
         ceil_divide(ceil_divide(args.count, count), kThreads), kThreads, 0, stream, args);
}

}  // namespace vistazo::cuda
