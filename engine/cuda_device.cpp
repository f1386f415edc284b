#include "engine/cuda_device.h"

#include <fmt/format.h>

namespace vistazo {
namespace {

constexpr int kMinMajor = 8;  // Ampere: bf16 products and asynchronous copies

struct GpuCount {
  int count = 0;
  std::string problem;
};

GpuCount count_gpus() {
  GpuCount gpus;
  const cudaError_t error = cudaGetDeviceCount(&gpus.count);
  cudaGetLastError();
  if (error == cudaErrorInsufficientDriver) {
    gpus.problem = "there is no NVIDIA driver, or one that is older than this build's CUDA";
  } else if (error == cudaErrorNoDevice || (error == cudaSuccess && gpus.count == 0)) {
    gpus.problem = "there is no NVIDIA GPU";
  } else if (error != cudaSuccess) {
    gpus.problem = fmt::format("no GPU is usable: {} ({})", cudaGetErrorString(error), cudaGetErrorName(error));
  }
  if (!gpus.problem.empty()) gpus.count = 0;
  return gpus;
}

int attribute_of(int index, cudaDeviceAttr attribute) {
  int value = 0;
  check_cuda(cudaDeviceGetAttribute(&value, attribute, index), "cudaDeviceGetAttribute");
  return value;
}

std::string problem_of(int index) {
  const int major = attribute_of(index, cudaDevAttrComputeCapabilityMajor);
  const int minor = attribute_of(index, cudaDevAttrComputeCapabilityMinor);
  if (major >= kMinMajor) return "";
  return fmt::format("GPU {} ({}) has compute capability {}.{}; {}.0 or newer is wanted", index, gpu_name(index), major,
                     minor, kMinMajor);
}

}  // namespace

std::string gpu_problem() {
  const GpuCount gpus = count_gpus();
  std::string problem = gpus.problem;
  for (int i = 0; i < gpus.count; ++i) {
    problem = problem_of(i);
    if (problem.empty()) return "";
  }
  return problem;
}

void require_gpu(int index) {
  const GpuCount gpus = count_gpus();
  if (!gpus.problem.empty()) fail(Error::Code::device, "device cuda: {}; cpu or auto runs without one", gpus.problem);
  if (index < 0 || index >= gpus.count) {
    fail(Error::Code::device, "device cuda: there is no GPU {}; this machine has {}, numbered from 0", index,
         gpus.count);
  }
  if (const std::string problem = problem_of(index); !problem.empty()) {
    fail(Error::Code::device, "device cuda: {}", problem);
  }
}

std::string gpu_name(int index) {
  cudaDeviceProp properties{};
  check_cuda(cudaGetDeviceProperties(&properties, index), "cudaGetDeviceProperties");
  return properties.name;
}

int exchange_gpu(int index) {
  int before = 0;
  check_cuda(cudaGetDevice(&before), "cudaGetDevice");
  check_cuda(cudaSetDevice(index), "cudaSetDevice");
  return before;
}

OwnedStream make_stream() {
  cudaStream_t stream = nullptr;
  check_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  return OwnedStream(stream);
}

OwnedEvent make_event() {
  cudaEvent_t event = nullptr;
  check_cuda(cudaEventCreate(&event), "cudaEventCreate");
  return OwnedEvent(event);
}

}  // namespace vistazo
