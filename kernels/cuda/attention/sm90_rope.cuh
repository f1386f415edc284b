#pragma once

#include "kernels/cuda/attention/rope.cuh"
#include "kernels/cuda/attention/sm90_items.cuh"

// Rotation of tiles of q and k where the copy engine has put them.
namespace vistazo::cuda::hopper {

constexpr int kRotatingWarps = 3;  // of the copying warpgroup

// Rotates those of a tile's rows, tokens from `first` on, that fall to one of kWarps warps. A lane has 16 bytes of a
// row's first half and those of its second half that they are paired with, of all rows in turn. wgmma reads what was
// written after a fence_proxy_async() and a barrier.
template <typename C, int kTileRows, int kWarps>
__device__ inline void rotate_tile(unsigned char* tile, const RopeTable& rope, int first, int warp, unsigned lane) {
  using T = typename C::T;
  static_assert(C::kPanels == 1 && (C::kDim == 32 || C::kDim == 64));
  constexpr int kLanes = C::kDim / 16, kStep = 32 / kLanes;  // lanes to a row, rows of a warp
  constexpr int kUnits = C::kPanelBytes / 16;
  asm volatile("" : "+r"(lane));  // all that follows from it is computed anew: kept, it would cost registers
  // Eight lanes access 128 bytes at a time. So that they are in different banks, some are four rows apart, where the
  // swizzle exchanges the halves.
  const unsigned row_of_lane =
      (lane >> 2 & 1) * 4 + (kLanes == 4 ? lane >> 3 : (lane >> 1 & 1) + (lane >> 3 & 1) * 2 + (lane >> 4) * 8);
  const unsigned unit = lane % kLanes, half = rope.half / 8;
  if (unit >= half) return;
  // The copy engine swizzles: units change places by the number of their 128 bytes, alike in all rows of a lane.
  static_assert(kStep * C::kPanelBytes % (kUnits * 128) == 0);
  const unsigned exchange = row_of_lane * C::kPanelBytes / 128 % kUnits;
  unsigned char* const rows = tile + row_of_lane * C::kPanelBytes;
  unsigned char *const low = rows + (unit ^ exchange) * 16, *const high = rows + ((unit + half) ^ exchange) * 16;
  const int token = first + static_cast<int>(row_of_lane);
  const int begin = rope.prefix - token, end = min(rope.end - token, kTileRows - static_cast<int>(row_of_lane));
  int row = warp * kStep;
  while (row < begin) row += kWarps * kStep;
#pragma unroll 1
  for (; row < end; row += kWarps * kStep) {
    rotate_group(reinterpret_cast<T*>(low + row * C::kPanelBytes), reinterpret_cast<T*>(high + row * C::kPanelBytes),
                 rope, RopeEntries(rope, token + row), unit * 8);
  }
}

}  // namespace vistazo::cuda::hopper
