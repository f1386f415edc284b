#include "engine/cuda_staging.h"

#include <algorithm>
#include <cstring>

namespace vistazo {
namespace {

// A piece that is copied while the one before travels. Below, the calls cost more than the overlap gains.
constexpr std::size_t kPiece = std::size_t{1} << 20;
constexpr std::size_t kAlign = 256;

}  // namespace

// Where `bytes` may be staged, in both buffers. If they are full, waits until nothing in them is needed any more.
std::size_t CudaStaging::reserve(std::size_t bytes) {
  std::size_t begin = (used_ + kAlign - 1) / kAlign * kAlign;
  if (begin + bytes > pinned_.size()) {
    check_cuda(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
    begin = 0;
    if (bytes > pinned_.size()) {
      pinned_ = {};
      pinned_ = PinnedBuffer(std::max(bytes + bytes / 4, kPiece));
    }
  }
  used_ = begin + bytes;
  return begin;
}

void CudaStaging::upload(std::span<const std::byte> from, void* to) {
  const std::size_t offset = reserve(from.size());
  std::byte* staged = pinned_.data() + offset;
  for (std::size_t begin = 0; begin < from.size(); begin += kPiece) {
    const std::size_t bytes = std::min(kPiece, from.size() - begin);
    std::memcpy(staged + begin, from.data() + begin, bytes);
    check_cuda(
        cudaMemcpyAsync(static_cast<std::byte*>(to) + begin, staged + begin, bytes, cudaMemcpyHostToDevice, stream_),
        "cudaMemcpyAsync");
  }
}

const std::uint8_t* CudaStaging::upload_image(const std::uint8_t* pixels, int rows, std::size_t columns,
                                              std::int64_t row_bytes) {
  const std::size_t begin = reserve(static_cast<std::size_t>(rows) * columns);
  if (images_.size() < pinned_.size()) {
    images_ = {};  // waits for the device
    images_ = DeviceBuffer(pinned_.size());
  }
  const int rows_of_piece = static_cast<int>(std::max<std::size_t>(kPiece / columns, 1));
  for (int row = 0; row < rows; row += rows_of_piece) {
    const int count = std::min(rows_of_piece, rows - row);
    const std::size_t offset = begin + static_cast<std::size_t>(row) * columns;
    const std::size_t bytes = static_cast<std::size_t>(count) * columns;
    std::byte* staged = pinned_.data() + offset;
    if (row_bytes == static_cast<std::int64_t>(columns)) {
      std::memcpy(staged, pixels + row * row_bytes, bytes);
    } else {
      for (int r = 0; r < count; ++r) {
        std::memcpy(staged + static_cast<std::size_t>(r) * columns, pixels + (row + r) * row_bytes, columns);
      }
    }
    check_cuda(cudaMemcpyAsync(images_.data() + offset, staged, bytes, cudaMemcpyHostToDevice, stream_),
               "cudaMemcpyAsync");
  }
  return reinterpret_cast<const std::uint8_t*>(images_.data() + begin);
}

void CudaStaging::download(const void* from, std::span<std::byte> to) {
  const std::size_t begin = reserve(to.size());
  check_cuda(cudaMemcpyAsync(pinned_.data() + begin, from, to.size(), cudaMemcpyDeviceToHost, stream_),
             "cudaMemcpyAsync");
  check_cuda(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
  std::memcpy(to.data(), pinned_.data() + begin, to.size());
  used_ = 0;  // nothing is on its way any more
}

}  // namespace vistazo
