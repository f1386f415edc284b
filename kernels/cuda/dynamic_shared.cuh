#pragma once

namespace vistazo::cuda {

// The dynamic shared memory of the block, as many bytes as its launch asked for; aligned to 16, more by luck.
__device__ inline unsigned char* dynamic_shared() {
  extern __shared__ uint4 shared_memory[];
  return reinterpret_cast<unsigned char*>(shared_memory);
}

}  // namespace vistazo::cuda
