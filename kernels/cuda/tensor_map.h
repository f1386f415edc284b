#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/base/check_cuda.h"
#include "kernels/base/dtype.h"

// Tensor maps for the copy engine of compute capability 9.0, made on the host without linking the driver's library.
namespace vistazo::cuda {

template <typename Function>
Function driver_function(const char* name) {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult result{};
  check_cuda(cudaGetDriverEntryPointByVersion(name, &function, 12000, cudaEnableDefault, &result), name);
  if (function == nullptr || result != cudaDriverEntryPointSuccess) {
    fail(Error::Code::device, "{}: this driver has no such function; update it", name);
  }
  return reinterpret_cast<Function>(function);
}

inline CUtensorMapDataType tensor_map_type(DType dtype) {
  return dtype == DType::f16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
}

inline void check_tensor_map(CUresult result, const char* call) {
  if (result != CUDA_SUCCESS) fail(Error::Code::device, "{}: error {}", call, static_cast<int>(result));
}

// Of rows of 32 or 64 elements of 16 bits in shared memory.
inline CUtensorMapSwizzle swizzle_of(int columns) {
  return columns == 32 ? CU_TENSOR_MAP_SWIZZLE_64B : CU_TENSOR_MAP_SWIZZLE_128B;
}

// A matrix of 16-bit elements, in boxes of box_rows x box_columns, which is 32 or 64; swizzled in shared memory.
inline CUtensorMap matrix_map(const void* data, DType dtype, std::int64_t rows, std::int64_t columns,
                              std::int64_t row_stride, int box_rows, int box_columns) {
  static const auto encode = driver_function<decltype(&cuTensorMapEncodeTiled)>("cuTensorMapEncodeTiled");
  CUtensorMap map{};
  const cuuint64_t size[] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows)};
  const cuuint64_t stride[] = {static_cast<cuuint64_t>(row_stride) * 2};
  const cuuint32_t box[] = {static_cast<cuuint32_t>(box_columns), static_cast<cuuint32_t>(box_rows)}, step[] = {1, 1};
  check_tensor_map(encode(&map, tensor_map_type(dtype), 2, const_cast<void*>(data), size, stride, box, step,
                          CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle_of(box_columns), CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                          CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
                   "cuTensorMapEncodeTiled");
  return map;
}

// The same matrix in boxes of box_rows x 64 whose rows are exchanged within sets of 8 * pairs: row 8 i + 2 t + e of a
// set in shared memory is the matrix's row 2 (pairs t + i) + e, where t counts to 4 and e to 2. The coordinates are
// (column, 0, 0, 0, set). Strides that do not grow are not what the driver's manual draws, but what maps of interleaved
// heads have as well.
inline CUtensorMap exchanged_rows_map(const void* data, DType dtype, std::int64_t rows, std::int64_t columns,
                                      std::int64_t row_stride, int box_rows, int pairs) {
  static const auto encode = driver_function<decltype(&cuTensorMapEncodeTiled)>("cuTensorMapEncodeTiled");
  CUtensorMap map{};
  const auto whole = [](std::int64_t x) { return static_cast<cuuint64_t>(x); };
  const cuuint64_t size[] = {whole(columns), 2, 4, whole(pairs), whole(rows / (8 * pairs))};
  const cuuint64_t row = whole(row_stride) * 2;
  const cuuint64_t stride[] = {row, 2 * whole(pairs) * row, 2 * row, 8 * whole(pairs) * row};
  const cuuint32_t box[] = {64, 2, 4, static_cast<cuuint32_t>(pairs), static_cast<cuuint32_t>(box_rows / (8 * pairs))};
  const cuuint32_t step[] = {1, 1, 1, 1, 1};
  check_tensor_map(encode(&map, tensor_map_type(dtype), 5, const_cast<void*>(data), size, stride, box, step,
                          CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle_of(64), CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                          CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
                   "cuTensorMapEncodeTiled");
  return map;
}

struct PixelMap {
  const void* data;
  DType dtype;
  int batch, height, width, channels;
  std::int64_t pixel_stride;  // elements
  int stride, padding;
  int out_height, out_width;
  int box_pixels, box_channels;
};

// Pixels of an NHWC batch in the order in which a convolution reads them, swizzled as above. Strides up to 8, padding
// and kernels up to 127.
inline CUtensorMap pixel_map(const PixelMap& m) {
  static const auto encode = driver_function<decltype(&cuTensorMapEncodeIm2col)>("cuTensorMapEncodeIm2col");
  CUtensorMap map{};
  const auto whole = [](std::int64_t x) { return static_cast<cuuint64_t>(x); };
  const cuuint64_t size[] = {whole(m.channels), whole(m.width), whole(m.height), whole(m.batch)};
  const cuuint64_t row = whole(m.width) * whole(m.pixel_stride) * 2;
  const cuuint64_t stride[] = {whole(m.pixel_stride) * 2, row, row * whole(m.height)};
  // The kernel's corner goes from the lower corner to the upper one, which counts from the image's last pixel.
  const int lower[] = {-m.padding, -m.padding};
  const int upper[] = {(m.out_width - 1) * m.stride - m.padding - (m.width - 1),
                       (m.out_height - 1) * m.stride - m.padding - (m.height - 1)};
  const auto step_size = static_cast<cuuint32_t>(m.stride);
  const cuuint32_t step[] = {1, step_size, step_size, 1};
  check_tensor_map(encode(&map, tensor_map_type(m.dtype), 4, const_cast<void*>(m.data), size, stride, lower, upper,
                          static_cast<cuuint32_t>(m.box_channels), static_cast<cuuint32_t>(m.box_pixels), step,
                          CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle_of(m.box_channels), CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                          CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
                   "cuTensorMapEncodeIm2col");
  return map;
}

}  // namespace vistazo::cuda
