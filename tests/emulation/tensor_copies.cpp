// Tensor maps and the copies that they describe: boxes of a tensor, or of the pixels that a convolution reads, to
// swizzled rows of shared memory.
#include <cuda.h>
#include <cuda_runtime.h>

#include <cstring>
#include <string_view>

#include "kernels/cuda/ptx/cp_async_bulk_im2col.cuh"
#include "tests/emulation/machine.h"

namespace {

bool set(CUtensorMap& map, CUtensorMapDataType type, cuuint32_t dimensions, void* data, const cuuint64_t* size,
         const cuuint64_t* stride, const cuuint32_t* step, CUtensorMapSwizzle swizzle) {
  map = {};
  map.data = static_cast<unsigned char*>(data);
  map.dimensions = static_cast<int>(dimensions);
  map.element_bytes = type == CU_TENSOR_MAP_DATA_TYPE_FLOAT32 ? 4 : 2;
  map.row_bytes = swizzle == CU_TENSOR_MAP_SWIZZLE_NONE ? 0 : 16 << static_cast<int>(swizzle);
  for (cuuint32_t i = 0; i < dimensions; ++i) {
    map.size[i] = size[i];
    map.stride[i] = i == 0 ? static_cast<std::uint64_t>(map.element_bytes) : stride[i - 1];
    map.step[i] = step[i];
    if (size[i] == 0 || (i > 0 && map.stride[i] % 16 != 0) || step[i] < 1 || step[i] > 8) return false;
  }
  return reinterpret_cast<std::uintptr_t>(data) % 16 == 0;
}

}  // namespace

CUresult cuTensorMapEncodeTiled(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t dimensions, void* data,
                                const cuuint64_t* size, const cuuint64_t* stride, const cuuint32_t* box,
                                const cuuint32_t* step, CUtensorMapInterleave, CUtensorMapSwizzle swizzle,
                                CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  if (!set(*map, type, dimensions, data, size, stride, step, swizzle)) return CUDA_ERROR_INVALID_VALUE;
  for (cuuint32_t i = 0; i < dimensions; ++i) {
    map->box[i] = box[i];
    if (box[i] < 1 || box[i] > 256) return CUDA_ERROR_INVALID_VALUE;
  }
  const int inner = static_cast<int>(box[0]) * map->element_bytes;
  return inner % 16 != 0 || (map->row_bytes > 0 && inner != map->row_bytes) ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

CUresult cuTensorMapEncodeIm2col(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t dimensions, void* data,
                                 const cuuint64_t* size, const cuuint64_t* stride, const int* lower, const int* upper,
                                 cuuint32_t channels, cuuint32_t pixels, const cuuint32_t* step, CUtensorMapInterleave,
                                 CUtensorMapSwizzle swizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  if (dimensions != 4 || !set(*map, type, dimensions, data, size, stride, step, swizzle))
    return CUDA_ERROR_INVALID_VALUE;
  map->is_im2col = true;
  map->channels = channels;
  map->pixels = pixels;
  for (int i = 0; i < 2; ++i) {
    map->lower[i] = lower[i];
    map->upper[i] = upper[i];
    if (lower[i] < -128 || lower[i] > 127 || upper[i] < -128 || upper[i] > 127) return CUDA_ERROR_INVALID_VALUE;
  }
  const int inner = static_cast<int>(channels) * map->element_bytes;
  return pixels > 1024 || channels > 256 || inner != map->row_bytes ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

cudaError_t cudaGetDriverEntryPointByVersion(const char* name, void** function, unsigned, unsigned long long,
                                             cudaDriverEntryPointQueryResult* result) {
  *result = cudaDriverEntryPointSuccess;
  if (std::string_view(name) == "cuTensorMapEncodeTiled") {
    *function = reinterpret_cast<void*>(&cuTensorMapEncodeTiled);
  } else if (std::string_view(name) == "cuTensorMapEncodeIm2col") {
    *function = reinterpret_cast<void*>(&cuTensorMapEncodeIm2col);
  } else {
    *function = nullptr;
    *result = cudaDriverEntryPointSymbolNotFound;
  }
  return cudaSuccess;
}

namespace vistazo::cuda::ptx {
namespace {

// Element `offset` bytes behind `shared`, as swizzling places it.
unsigned char* place(unsigned char* shared, const CUtensorMap& map, int offset) {
  std::uint32_t number = emulation::shared_number(shared) + static_cast<std::uint32_t>(offset);
  if (map.row_bytes > 0) number ^= number / 128 % (static_cast<std::uint32_t>(map.row_bytes) / 16) * 16;
  return emulation::shared_at(number);
}

// Copies the element at the coordinates, or zero if it lies outside.
void copy_element(unsigned char* to, const CUtensorMap& map, const std::int64_t (&at)[5]) {
  const unsigned char* from = map.data;
  for (int i = 0; i < map.dimensions; ++i) {
    if (at[i] < 0 || at[i] >= static_cast<std::int64_t>(map.size[i])) {
      std::memset(to, 0, static_cast<std::size_t>(map.element_bytes));
      return;
    }
    from += at[i] * static_cast<std::int64_t>(map.stride[i]);
  }
  std::memcpy(to, from, static_cast<std::size_t>(map.element_bytes));
}

void check_place(const void* shared, const CUtensorMap& map) {
  // Swizzling repeats itself every 8 rows.
  const auto alignment = static_cast<std::uint32_t>(map.row_bytes == 0 ? 128 : 8 * map.row_bytes);
  if (emulation::shared_number(shared) % alignment != 0) emulation::fail("a copy to a place that is not aligned");
}

}  // namespace

void copy_box(void* shared, const CUtensorMap& given, const int (&start)[5], int dimensions, Barrier* barrier) {
  if (given.dimensions != dimensions || given.is_im2col) emulation::fail("a copy by a tensor map of another kind");
  check_place(shared, given);
  struct Copy {
    unsigned char* shared;
    CUtensorMap map;
    int start[5];
    Barrier* barrier;
  } copy{static_cast<unsigned char*>(shared), given, {start[0], start[1], start[2], start[3], start[4]}, barrier};
  emulation::run_later([copy] {
    const CUtensorMap& map = copy.map;
    int elements = 1;
    for (int i = 0; i < map.dimensions; ++i) elements *= static_cast<int>(map.box[i]);
    for (int n = 0; n < elements; ++n) {
      std::int64_t at[5] = {};
      int rest = n;
      for (int i = 0; i < map.dimensions; ++i) {
        at[i] = copy.start[i] + rest % static_cast<int>(map.box[i]) * static_cast<int>(map.step[i]);
        rest /= static_cast<int>(map.box[i]);
      }
      copy_element(place(copy.shared, map, n * map.element_bytes), map, at);
    }
    mbarrier_complete(copy.barrier, elements * map.element_bytes);
  });
}

void cp_async_bulk_tensor_im2col(void* shared, const CUtensorMap* given, int channel, int first_x, int first_y,
                                 int first_image, int tap_x, int tap_y, Barrier* barrier) {
  if (!given->is_im2col) emulation::fail("a copy by a tensor map of another kind");
  check_place(shared, *given);
  struct Copy {
    unsigned char* shared;
    CUtensorMap map;
    int channel, x, y, image, tap_x, tap_y;
    Barrier* barrier;
  } copy{static_cast<unsigned char*>(shared), *given, channel, first_x, first_y, first_image, tap_x, tap_y, barrier};
  emulation::run_later([copy] {
    const CUtensorMap& map = copy.map;
    // The corner goes along rows from the lower to the upper corner, which counts from the last pixel.
    const int last_x = static_cast<int>(map.size[1]) - 1 + map.upper[0];
    const int last_y = static_cast<int>(map.size[2]) - 1 + map.upper[1];
    int x = copy.x, y = copy.y, image = copy.image;
    for (int pixel = 0; pixel < static_cast<int>(map.pixels); ++pixel) {
      for (int i = 0; i < static_cast<int>(map.channels); ++i) {
        const std::int64_t at[5] = {copy.channel + i, x + copy.tap_x, y + copy.tap_y, image, 0};
        const int offset = (pixel * static_cast<int>(map.channels) + i) * map.element_bytes;
        copy_element(place(copy.shared, map, offset), map, at);
      }
      x += static_cast<int>(map.step[1]);
      if (x <= last_x) continue;
      x = map.lower[0];
      y += static_cast<int>(map.step[2]);
      if (y <= last_y) continue;
      y = map.lower[1];
      ++image;
    }
    mbarrier_complete(copy.barrier, static_cast<int>(map.pixels * map.channels) * map.element_bytes);
  });
}

}  // namespace vistazo::cuda::ptx
