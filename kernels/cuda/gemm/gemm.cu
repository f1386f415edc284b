// Chooses the kernel of a product.
#include <cuda_runtime_api.h>

#include "kernels/base/check_cuda.h"
#include "kernels/base/error.h"
#include "kernels/cuda/gemm/gemm.h"
#include "kernels/cuda/shallow/shallow.h"

namespace vistazo::cuda {

bool is_sm90() {
  thread_local int known_device = -1, capability = 0;
  int device = 0;
  check_cuda(cudaGetDevice(&device), "cudaGetDevice");
  if (device != known_device) {
    int major = 0, minor = 0;
    check_cuda(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "cudaDeviceGetAttribute");
    check_cuda(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "cudaDeviceGetAttribute");
    capability = 10 * major + minor;
    known_device = device;
  }
  return capability == 90;
}

namespace {

// Where the kernel for few channels is ahead on an H200: docs/kernels/convolution.md.
bool suits_shallow(const Gemm& gemm) {
  constexpr int kManyPixels = 1 << 16;
  return gemm.columns <= 64 && (gemm.channels <= 32 || gemm.rows >= kManyPixels) && can_run_shallow(gemm);
}

GemmPath choose(const Gemm& gemm) {
  if (gemm.dtype == DType::f32) return GemmPath::simt;
  if (suits_shallow(gemm)) return GemmPath::shallow;
  return can_run_sm90(gemm) && is_sm90() ? GemmPath::sm90 : GemmPath::sm80;
}

}  // namespace

void gemm(const char* name, const Gemm& gemm, const MatmulContext& context) {
  if (gemm.rows == 0) return;
  const bool is_narrow = gemm.dtype == DType::f16 || gemm.dtype == DType::bf16;
  switch (context.path == GemmPath::automatic ? choose(as_planned(gemm, context.plan)) : context.path) {
    case GemmPath::automatic:
    case GemmPath::simt:
      return gemm_simt(name, gemm, context.stream);
    case GemmPath::sm80:
      if (is_narrow) return gemm_sm80(name, gemm, context.stream);
      break;
    case GemmPath::sm90:
      if (can_run_sm90(gemm) && is_sm90()) return gemm_sm90(name, gemm, context);
      break;
    case GemmPath::shallow:
      if (can_run_shallow(gemm)) return shallow_convolution(name, gemm, context.tile, context.stream);
      break;
  }
  fail(Error::Code::unsupported, "{}: the forced kernel cannot multiply these {} operands on this device", name,
       name_of(gemm.dtype));
}

}  // namespace vistazo::cuda
