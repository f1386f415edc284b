#pragma once

struct CUstream_st;

namespace vistazo {

// The same type as cudaStream_t, so that a contract parses without CUDA's headers. Null is the default stream.
using CudaStream = CUstream_st*;

}  // namespace vistazo
