#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <limits>

#include "kernels/base/check_cuda.h"
#include "kernels/base/error.h"
#include "kernels/base/stream.h"
#include "kernels/cuda/ptx/griddepcontrol.cuh"

namespace vistazo::cuda {

// Whether kernels of this device's code may be launched before the one in front of them has finished.
inline bool has_dependent_launch() {
  thread_local int known_device = -1, major = 0;
  int device = 0;
  check_cuda(cudaGetDevice(&device), "cudaGetDevice");
  if (device != known_device) {
    check_cuda(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "cudaDeviceGetAttribute");
    known_device = device;
  }
  return major >= 9;
}

// Launches a kernel of one parameter struct on a row of blocks and checks the launch. `name` is the operation's.
// The kernel must call dependent_launch() (below) before it touches global memory that other kernels write or read:
// on 9.0 and later it starts while the kernel before it in the stream drains. `cluster`: blocks that run together, from
// 9.0 on; `blocks` is a multiple of it.
template <typename Parameters>
void launch(const char* name, void (*kernel)(Parameters), std::int64_t blocks, int threads, std::size_t shared_bytes,
            CudaStream stream, const Parameters& parameters, int cluster = 1) {
  if (blocks > std::numeric_limits<int>::max()) {
    fail(Error::Code::unsupported, "{}: {} blocks are more than a grid holds; split the batch", name, blocks);
  }
  constexpr std::size_t kWithoutAsking = 48 << 10;  // what a block gets unless it asks for more
  if (shared_bytes > kWithoutAsking) {
    check_cuda(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes)),
        name);
  }
  cudaLaunchAttribute attributes[3] = {};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  // As much shared memory as there is, in every kernel, so that a multiprocessor does not have to divide its memory
  // otherwise in between: 0.4 to 1.1 % of a pass of RF-DETR over one image, nothing over 16.
  attributes[1].id = cudaLaunchAttributePreferredSharedMemoryCarveout;
  attributes[1].val.sharedMemCarveout = cudaSharedmemCarveoutMaxShared;
  attributes[2].id = cudaLaunchAttributeClusterDimension;
  attributes[2].val.clusterDim = {static_cast<unsigned>(cluster), 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = !has_dependent_launch() ? 0 : cluster == 1 ? 2 : 3;
  check_cuda(cudaLaunchKernelEx(&config, kernel, parameters), name);
}

// At the start of every kernel: waits for the one before, then lets the next one's blocks move in behind this one's.
// In this order no more than one kernel sits waiting on the chip.
__device__ inline void dependent_launch() {
  ptx::griddepcontrol_wait();
  ptx::griddepcontrol_launch_dependents();
}

}  // namespace vistazo::cuda
