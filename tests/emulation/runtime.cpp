#include <cuda_runtime_api.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

using Work = std::vector<std::function<void()>>;

struct CUstream_st {
  bool is_recorded = false;
  Work work;
};
struct CUgraph_st {
  Work work;
};
struct CUgraphExec_st {
  Work work;
};
struct CUevent_st {
  std::chrono::steady_clock::time_point time;
};

namespace {

thread_local cudaError_t last_error = cudaSuccess;

cudaError_t done(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

constexpr std::size_t kMemoryBytes = std::size_t{8} << 30;

// What the device has given out, so that leaks and memory that is asked for in vain show as on a GPU.
class Memory {
 public:
  void* allocate(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    constexpr std::size_t kAlignment = 256;
    const std::size_t size = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    if (size > kMemoryBytes - used_) return nullptr;
    void* const data = std::aligned_alloc(kAlignment, size);
    if (data != nullptr) used_ += sizes_[data] = size;
    return data;
  }
  bool free(void* data) {
    const std::lock_guard lock(mutex_);
    const auto known = sizes_.find(data);
    if (known == sizes_.end()) return false;
    used_ -= known->second;
    sizes_.erase(known);
    std::free(data);
    return true;
  }
  bool holds(const void* pointer) {
    const std::lock_guard lock(mutex_);
    const auto behind = sizes_.upper_bound(const_cast<void*>(pointer));
    if (behind == sizes_.begin()) return false;
    const auto& [begin, size] = *std::prev(behind);
    return static_cast<const char*>(pointer) < static_cast<const char*>(begin) + size;
  }
  std::size_t available() {
    const std::lock_guard lock(mutex_);
    return kMemoryBytes - used_;
  }

 private:
  std::mutex mutex_;
  std::map<void*, std::size_t> sizes_;
  std::size_t used_ = 0;
};

Memory& memory() {
  static Memory& memory = *new Memory;  // outlives whatever is freed late
  return memory;
}

}  // namespace

namespace vistazo::emulation {

void run_on(cudaStream_t stream, std::function<void()> work) {
  if (stream != nullptr && stream->is_recorded) {
    stream->work.push_back(std::move(work));
  } else {
    work();
  }
}

}  // namespace vistazo::emulation

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorStreamCaptureUnsupported:
      return "operation not permitted when stream is capturing";
    default:
      return "invalid argument";
  }
}
const char* cudaGetErrorName(cudaError_t error) {
  return error == cudaSuccess ? "cudaSuccess" : "cudaError";
}
cudaError_t cudaGetLastError() {
  return std::exchange(last_error, cudaSuccess);
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  return done(device == 0 ? cudaSuccess : cudaErrorInvalidDevice);
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = {"emulation on the host", 9, 0};
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  constexpr int kMultiprocessors = 6;  // few, so that blocks have several items each even where a test is small
  *value = attribute == cudaDevAttrComputeCapabilityMajor   ? 9
           : attribute == cudaDevAttrComputeCapabilityMinor ? 0
           : attribute == cudaDevAttrMultiProcessorCount    ? kMultiprocessors
                                                            : 227 << 10;
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() {
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** data, std::size_t bytes) {
  *data = bytes == 0 ? nullptr : memory().allocate(bytes);
  return done(bytes > 0 && *data == nullptr ? cudaErrorMemoryAllocation : cudaSuccess);
}
cudaError_t cudaFree(void* data) {
  return done(data == nullptr || memory().free(data) ? cudaSuccess : cudaErrorInvalidValue);
}
cudaError_t cudaMallocHost(void** data, std::size_t bytes) {
  *data = std::malloc(bytes);
  return cudaSuccess;
}
cudaError_t cudaFreeHost(void* data) {
  std::free(data);
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(std::size_t* available, std::size_t* total) {
  *available = memory().available();
  *total = kMemoryBytes;
  return cudaSuccess;
}
cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind) {
  if (bytes > 0) std::memcpy(to, from, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  vistazo::emulation::run_on(stream, [=] { cudaMemcpy(to, from, bytes, kind); });
  return cudaSuccess;
}
cudaError_t cudaMemcpy2D(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch, std::size_t columns,
                         std::size_t rows, cudaMemcpyKind kind) {
  for (std::size_t row = 0; row < rows; ++row) {
    cudaMemcpy(static_cast<char*>(to) + row * to_pitch, static_cast<const char*>(from) + row * from_pitch, columns,
               kind);
  }
  return cudaSuccess;
}
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
  *attributes = {memory().holds(pointer) ? cudaMemoryTypeDevice : cudaMemoryTypeUnregistered, 0};
  return cudaSuccess;
}
cudaError_t cudaMemset(void* to, int value, std::size_t bytes) {
  if (bytes > 0) std::memset(to, value, bytes);
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new CUstream_st;
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const bool is_recorded = stream != nullptr && stream->is_recorded;
  return done(is_recorded ? cudaErrorStreamCaptureUnsupported : cudaSuccess);
}
cudaError_t cudaEventCreate(cudaEvent_t* event) {
  *event = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  vistazo::emulation::run_on(stream, [=] { event->time = std::chrono::steady_clock::now(); });
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t) {
  return cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  *milliseconds = std::chrono::duration<float, std::milli>(end->time - begin->time).count();
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (stream == nullptr || stream->is_recorded) return done(cudaErrorStreamCaptureUnsupported);
  stream->is_recorded = true;
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  stream->is_recorded = false;
  *graph = new CUgraph_st{std::exchange(stream->work, {})};
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  *executable = new CUgraphExec_st{graph->work};
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  for (const auto& work : executable->work) vistazo::emulation::run_on(stream, work);
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}
