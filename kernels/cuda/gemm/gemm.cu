// Chooses the kernel of a product.
#include "kernels/base/error.h"
#include "kernels/cuda/gemm/gemm.h"

namespace vistazo::cuda {

void gemm(const char* name, const Gemm& gemm, const MatmulContext& context) {
  if (gemm.rows == 0) return;
  const bool is_narrow = gemm.dtype == DType::f16 || gemm.dtype == DType::bf16;
  switch (context.path) {
    case GemmPath::automatic:
      return is_narrow ? gemm_sm80(name, gemm, context.stream) : gemm_simt(name, gemm, context.stream);
    case GemmPath::simt:
      return gemm_simt(name, gemm, context.stream);
    case GemmPath::sm80:
      if (is_narrow) return gemm_sm80(name, gemm, context.stream);
      break;
    case GemmPath::sm90:
      break;
  }
  fail(Error::Code::unsupported, "{}: the forced kernel cannot multiply {} on this device", name, name_of(gemm.dtype));
}

}  // namespace vistazo::cuda
