#pragma once

#include <cuda_runtime_api.h>

#include "kernels/base/error.h"

namespace vistazo {

// Throws Error{device} that names the call where it did not succeed: check_cuda(cudaMalloc(&p, n), "cudaMalloc").
inline void check_cuda(cudaError_t error, const char* call) {
  if (error == cudaSuccess) return;
  fail(Error::Code::device, "{}: {} ({})", call, cudaGetErrorString(error), cudaGetErrorName(error));
}

}  // namespace vistazo
