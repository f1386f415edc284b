#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <limits>

#include "kernels/base/check_cuda.h"
#include "kernels/base/error.h"
#include "kernels/base/stream.h"

namespace vistazo::cuda {

// Launches a kernel of one parameter struct on a row of blocks and checks the launch. `name` is the operation's.
template <typename Parameters>
void launch(const char* name, void (*kernel)(Parameters), std::int64_t blocks, int threads, std::size_t shared_bytes,
            CudaStream stream, const Parameters& parameters) {
  if (blocks > std::numeric_limits<int>::max()) {
    fail(Error::Code::unsupported, "{}: {} blocks are more than a grid holds; split the batch", name, blocks);
  }
  constexpr std::size_t kWithoutAsking = 48 << 10;  // what a block gets unless it asks for more
  if (shared_bytes > kWithoutAsking) {
    check_cuda(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes)),
        name);
  }
  kernel<<<dim3(static_cast<unsigned>(blocks)), dim3(static_cast<unsigned>(threads)), shared_bytes, stream>>>(
      parameters);
  check_cuda(cudaGetLastError(), name);
}

}  // namespace vistazo::cuda
