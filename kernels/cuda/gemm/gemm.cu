// Chooses the kernel of a product.
#include "kernels/base/error.h"
#include "kernels/cuda/gemm/gemm.h"

namespace vistazo::cuda {

void gemm(const char* name, const Gemm& gemm, const MatmulContext& context) {
  if (gemm.rows == 0) return;
  switch (context.path) {
    case GemmPath::automatic:
    case GemmPath::simt:
      return gemm_simt(name, gemm, context.stream);
    case GemmPath::sm80:
    case GemmPath::sm90:
      break;
  }
  fail(Error::Code::unsupported, "{}: no kernel on this path", name);
}

}  // namespace vistazo::cuda
