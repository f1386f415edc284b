// Chooses the kernel of a shallow convolution.
#include <cuda_runtime_api.h>

#include "kernels/base/check_cuda.h"
#include "kernels/base/error.h"
#include "kernels/cuda/gemm/epilogue.cuh"
#include "kernels/cuda/shallow/kernel.cuh"
#include "kernels/cuda/shallow/shallow.h"

namespace vistazo::cuda {
namespace {

constexpr int kMostChannels = 64;

int attribute(cudaDeviceAttr which) {
  int device = 0, value = 0;
  check_cuda(cudaGetDevice(&device), "cudaGetDevice");
  check_cuda(cudaDeviceGetAttribute(&value, which, device), "cudaDeviceGetAttribute");
  return value;
}

int ceil_of(int count, int size) {
  return (count + size - 1) / size;
}

ShallowShape shape_of(const Gemm& gemm, int lines) {
  const bool is_narrow = gemm.stride == 2 || gemm.channels <= 16;
  return {gemm.stride, is_narrow ? 2 : lines, is_narrow ? 16 : 32, gemm.columns <= 32 ? 32 : 64};
}

std::size_t shared_bytes(const ShallowShape& shape, int units) {
  const auto of = [&]<int kStride, int kLines, int kUnit>() {
    return shape.columns == 32 ? ShallowTile<kStride, kLines, kUnit, 32>::shared_bytes(units)
                               : ShallowTile<kStride, kLines, kUnit, 64>::shared_bytes(units);
  };
  if (shape.stride == 2) return of.template operator()<2, 2, 16>();
  if (shape.unit == 16) return of.template operator()<1, 2, 16>();
  return shape.lines == 2 ? of.template operator()<1, 2, 32>() : of.template operator()<1, 4, 32>();
}

bool fits(const Gemm& gemm, const ShallowShape& shape) {
  return shared_bytes(shape, ceil_of(gemm.channels, shape.unit)) <=
         static_cast<std::size_t>(attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin));
}

int tiles_of(const Gemm& gemm, const ShallowShape& shape) {
  return gemm.batch * ceil_of(gemm.out_height, shape.tile_lines()) * ceil_of(gemm.out_width, kTileWidth);
}

// Large tiles where every group of warps gets one and they fit.
int choose_lines(const Gemm& gemm) {
  const ShallowShape large = shape_of(gemm, 4);
  const int groups = kGroups * attribute(cudaDevAttrMultiProcessorCount);
  return fits(gemm, large) && tiles_of(gemm, large) >= groups ? 4 : 2;
}

}  // namespace

bool can_run_shallow(const Gemm& gemm) {
  return gemm.dtype != DType::f32 && gemm.groups == 1 && gemm.kernel_height == kSide && gemm.kernel_width == kSide &&
         (gemm.stride == 1 || gemm.stride == 2) && gemm.channels <= kMostChannels && is_gather_aligned(gemm) &&
         fits(gemm, shape_of(gemm, 2));
}

void shallow_convolution(const char* name, const Gemm& gemm, int variant, CudaStream stream) {
  const int lines = variant < 0 ? choose_lines(gemm) : variant % 2 == 0 ? 4 : 2;
  const bool has_wgmma = variant < 0 ? is_sm90() : variant % kShallowVariants >= 2;
  const ShallowShape shape = shape_of(gemm, lines);
  if (!fits(gemm, shape) || (has_wgmma && !is_sm90())) {
    fail(Error::Code::unsupported, "{}: variant {} of the shallow kernel does not run on this device", name, variant);
  }
  ShallowLaunch parameters{};
  parameters.gemm = gemm;
  parameters.tiles = tiles_of(gemm, shape);
  parameters.tile_lines = ceil_of(gemm.out_height, shape.tile_lines());
  parameters.tile_columns = ceil_of(gemm.out_width, kTileWidth);
  parameters.column_tiles = ceil_of(gemm.columns, shape.columns);
  parameters.units = ceil_of(gemm.channels, shape.unit);
  parameters.are_groups_stored = are_groups_stored(gemm, kChunkChannels);
  (has_wgmma ? shallow_sm90 : shallow_sm80)(name, shape, parameters, stream);
}

}  // namespace vistazo::cuda
