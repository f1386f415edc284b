#include "engine/backend.h"

#include "engine/log.h"
#include "kernels/base/error.h"
#ifdef VISTAZO_HAS_CUDA
#include "engine/cuda_device.h"
#endif

namespace vistazo {
namespace {

#ifdef VISTAZO_HAS_CUDA
// Without any usable GPU the CPU takes over; an index that names none of several is the caller's error all the same.
bool is_gpu_wanted(const Options& options) {
  if (options.device != Device::automatic) return options.device == Device::cuda;
  const std::string problem = gpu_problem();
  if (!problem.empty()) log()->info("device auto: {}; the CPU is taken", problem);
  return problem.empty();
}
#endif

}  // namespace

std::unique_ptr<Backend> make_backend(const Options& options) {
#ifdef VISTAZO_HAS_CUDA
  if (is_gpu_wanted(options)) return make_cuda_backend(options.precision, options.gpu, options.cpu_threads);
#else
  if (options.device == Device::cuda) {
    fail(Error::Code::unsupported,
         "device cuda: this build of vistazo has no CUDA kernels; build it where nvcc is found, or use cpu or auto");
  }
#endif
  const int threads = options.threads_per_call > 0 ? options.threads_per_call : options.cpu_threads;
  return make_cpu_backend(options.precision, threads);
}

}  // namespace vistazo
