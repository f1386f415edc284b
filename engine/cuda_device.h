#pragma once

#include <cuda_runtime_api.h>

#include <memory>
#include <string>

#include "kernels/base/check_cuda.h"

// GPUs, and owners of what CUDA's runtime hands out.
namespace vistazo {

// Why no GPU can be used at all; "" where one can. Never throws.
std::string gpu_problem();

// Throws Error{device} if there is no GPU at that index or the kernels do not run on it.
void require_gpu(int index);

// "NVIDIA H200".
std::string gpu_name(int index);

// Makes a GPU the calling thread's and returns the one that was. A thread's GPU is the embedder's business: callers set
// it back.
int exchange_gpu(int index);

template <typename Handle, cudaError_t (*destroy)(Handle)>
struct CudaDestroy {
  using pointer = Handle;
  void operator()(Handle handle) const { destroy(handle); }
};
using OwnedStream = std::unique_ptr<cudaStream_t, CudaDestroy<cudaStream_t, cudaStreamDestroy>>;
using OwnedEvent = std::unique_ptr<cudaEvent_t, CudaDestroy<cudaEvent_t, cudaEventDestroy>>;
using OwnedGraph = std::unique_ptr<cudaGraph_t, CudaDestroy<cudaGraph_t, cudaGraphDestroy>>;
using OwnedGraphExec = std::unique_ptr<cudaGraphExec_t, CudaDestroy<cudaGraphExec_t, cudaGraphExecDestroy>>;

// On the calling thread's GPU; it waits for no other stream, the default one included.
OwnedStream make_stream();
OwnedEvent make_event();

}  // namespace vistazo
