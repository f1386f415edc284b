#include "engine/cuda_staging.h"

#include <algorithm>
#include <cstring>

namespace vistazo {
namespace {

// What one thread copies at a time, and what travels together. One thread copied 10 GB/s on the host of an H200,
// less than the bus takes.
constexpr std::size_t kPiece = std::size_t{1} << 18, kPart = std::size_t{4} << 20;
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
      pinned_ = PinnedBuffer(std::max(bytes + bytes / 4, kPart));
    }
  }
  used_ = begin + bytes;
  return begin;
}

// Bytes without gaps, by way of the offset's place in page-locked memory.
void CudaStaging::send(std::size_t offset, std::span<const std::byte> from, std::byte* to) {
  std::byte* staged = pinned_.data() + offset;
  for (std::size_t begin = 0; begin < from.size(); begin += kPart) {
    const std::size_t bytes = std::min(kPart, from.size() - begin);
    pool_.for_each(static_cast<std::int64_t>((bytes + kPiece - 1) / kPiece), [&](std::int64_t piece, int) {
      const std::size_t first = static_cast<std::size_t>(piece) * kPiece;
      std::memcpy(staged + begin + first, from.data() + begin + first, std::min(kPiece, bytes - first));
    });
    check_cuda(cudaMemcpyAsync(to + begin, staged + begin, bytes, cudaMemcpyHostToDevice, stream_), "cudaMemcpyAsync");
  }
}

void CudaStaging::upload(std::span<const std::byte> from, void* to) {
  const std::size_t offset = reserve(from.size());
  send(offset, from, static_cast<std::byte*>(to));
}

const std::uint8_t* CudaStaging::upload_image(const std::uint8_t* pixels, int rows, std::size_t columns,
                                              std::int64_t row_bytes) {
  const std::size_t size = static_cast<std::size_t>(rows) * columns, offset = reserve(size);
  if (images_.size() < pinned_.size()) {
    images_ = {};  // waits for the device
    images_ = DeviceBuffer(pinned_.size());
  }
  std::byte* image = images_.data() + offset;
  if (row_bytes == static_cast<std::int64_t>(columns)) {
    send(offset, std::as_bytes(std::span(pixels, size)), image);
  } else {
    std::byte* staged = pinned_.data() + offset;
    pool_.for_each(rows, [&](std::int64_t row, int) {
      std::memcpy(staged + static_cast<std::size_t>(row) * columns, pixels + row * row_bytes, columns);
    });
    check_cuda(cudaMemcpyAsync(image, staged, size, cudaMemcpyHostToDevice, stream_), "cudaMemcpyAsync");
  }
  return reinterpret_cast<const std::uint8_t*>(image);
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
