#include "kernels/cuda/attention/tensor_maps.h"

#include <cstdint>

#include "kernels/base/error.h"
#include "kernels/cuda/tensor_map.h"

namespace vistazo::cuda {
namespace {

CUtensorMap make_map(const AttentionOperand& x, int tokens, int dim, const AttentionArgs& args, int columns, int rows) {
  static const auto encode = driver_function<decltype(&cuTensorMapEncodeTiled)>("cuTensorMapEncodeTiled");
  constexpr int kElement = 2;
  const auto count = [](int n) { return static_cast<cuuint64_t>(n); };
  // A stride along a dimension of one is never used, but must be a multiple of 16 all the same.
  const auto bytes = [](std::int64_t stride, int extent) {
    return extent == 1 ? cuuint64_t{16} : static_cast<cuuint64_t>(stride * kElement);
  };
  const cuuint64_t extents[4] = {count(dim), count(args.heads), count(tokens), count(args.batch)};
  const cuuint64_t strides[3] = {bytes(dim, args.heads), bytes(x.row_stride, tokens),
                                 bytes(x.batch_stride, args.batch)};
  const cuuint32_t box[4] = {static_cast<cuuint32_t>(columns), 1, static_cast<cuuint32_t>(rows), 1};
  const cuuint32_t steps[4] = {1, 1, 1, 1};
  const CUtensorMapSwizzle swizzle = columns * kElement == 128  ? CU_TENSOR_MAP_SWIZZLE_128B
                                     : columns * kElement == 64 ? CU_TENSOR_MAP_SWIZZLE_64B
                                                                : CU_TENSOR_MAP_SWIZZLE_32B;
  CUtensorMap map;
  const CUresult result = encode(&map, tensor_map_type(args.dtype), 4, const_cast<void*>(x.data), extents, strides, box,
                                 steps, CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                                 CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    fail(Error::Code::device,
         "attention: no tensor map of {} tokens, {} heads of {}, rows {} apart, batch entries {} "
         "apart: error {}",
         tokens, args.heads, dim, x.row_stride, x.batch_stride, static_cast<int>(result));
  }
  return map;
}

}  // namespace

AttentionTensorMaps make_tensor_maps(const AttentionArgs& args, int columns, int query_rows, int key_rows) {
  return {make_map(args.q, args.queries, args.head_dim, args, columns, query_rows),
          make_map(args.k, args.keys, args.head_dim, args, columns, key_rows),
          make_map(args.v, args.keys, args.value_dim, args, columns, key_rows)};
}

}  // namespace vistazo::cuda
