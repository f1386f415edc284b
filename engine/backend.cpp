#include "engine/backend.h"

#include "kernels/base/error.h"

namespace vistazo {

std::unique_ptr<Backend> make_backend(const Options& options) {
  if (options.device == Device::cuda) {
    fail(Error::Code::unsupported, "device cuda: this version of vistazo runs models on the CPU only; use cpu or auto");
  }
  return make_cpu_backend(options.precision, options.cpu_threads);
}

}  // namespace vistazo
