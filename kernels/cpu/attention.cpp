// Launcher of attention on the CPU: checks the arguments, picks the code path and cuts the work into tiles of query
// rows, one per (batch entry, head, run of rows). Tiles share nothing and a row's result does not depend on the tile it
// is in, so results are the same for any number of threads and any batch.
#include "kernels/attention.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "kernels/base/aligned.h"
#include "kernels/base/error.h"
#include "kernels/cpu/attention_tile.h"
#include "kernels/cpu/thread_pool.h"

namespace vistazo::cpu {
namespace {

constexpr int kMaxDim = 128;

struct Path {
  AttentionPath path;
  int tile_queries;  // most rows of a tile
  std::size_t scratch_bytes;
  void (*attend)(const AttentionTile&, DType);
};

Path make_path(const AttentionArgs& args, AttentionPath path) {
  if (path != AttentionPath::simd && args.dtype == DType::bf16 && is_amx_available()) {
    return {AttentionPath::amx, kAmxTileQueries, attention_amx_scratch_bytes(args.head_dim, args.value_dim),
            attention_amx};
  }
  if (path == AttentionPath::automatic || path == AttentionPath::simd) {
    return {AttentionPath::simd, kSimdTileQueries,
            attention_simd_scratch_bytes(args.head_dim, args.value_dim, args.dtype), attention_simd};
  }
  fail(Error::Code::unsupported, "attention: path amx cannot run {} on this processor; simd can", name_of(args.dtype));
}

void check(const AttentionArgs& args) {
  const auto positive = [](const char* name, int value) {
    if (value < 1) fail(Error::Code::unsupported, "attention: {} is {}, must be positive", name, value);
  };
  if (args.dtype != DType::f32 && args.dtype != DType::bf16) {
    fail(Error::Code::unsupported, "attention: dtype is {}, must be f32 or bf16", name_of(args.dtype));
  }
  positive("batch", args.batch);
  positive("heads", args.heads);
  positive("queries", args.queries);
  positive("keys", args.keys);
  for (const auto& [name, dim] : {std::pair{"head_dim", args.head_dim}, std::pair{"value_dim", args.value_dim}}) {
    if (dim < 1 || dim > kMaxDim) {
      fail(Error::Code::unsupported, "attention: {} is {}, must be 1 to {}", name, dim, kMaxDim);
    }
  }
}

std::size_t worker_bytes(const AttentionArgs& args) {
  return align_up(std::max(make_path(args, AttentionPath::automatic).scratch_bytes,
                           make_path(args, AttentionPath::simd).scratch_bytes));
}

const void* row_zero(const AttentionOperand& x, DType dtype, std::int64_t batch, std::int64_t head, int dim) {
  const std::int64_t element = batch * x.batch_stride + head * dim;
  return static_cast<const std::byte*>(x.data) + element * static_cast<std::int64_t>(size_of(dtype));
}

}  // namespace

std::size_t attention_scratch_bytes(const AttentionArgs& args, const ThreadPool& pool) {
  check(args);
  return worker_bytes(args) * static_cast<std::size_t>(pool.threads());
}

void attention(const AttentionArgs& args, const ThreadPool& pool, AttentionPath requested) {
  check(args);
  const Path path = make_path(args, requested);
  const std::size_t scratch_stride = worker_bytes(args);
  const auto element = static_cast<std::int64_t>(size_of(args.dtype));
  const std::int64_t pairs = std::int64_t{args.batch} * args.heads;
  const int tiles = (args.queries + path.tile_queries - 1) / path.tile_queries;

  pool.for_each(pairs * tiles, [&](std::int64_t item, int worker) {
    const std::int64_t pair = item / tiles, b = pair / args.heads, h = pair % args.heads;
    const std::int64_t first = item % tiles * path.tile_queries;
    AttentionTile tile{};
    tile.q = static_cast<const std::byte*>(row_zero(args.q, args.dtype, b, h, args.head_dim)) +
             first * args.q.row_stride * element;
    tile.k = row_zero(args.k, args.dtype, b, h, args.head_dim);
    tile.v = row_zero(args.v, args.dtype, b, h, args.value_dim);
    tile.out = static_cast<std::byte*>(args.out) +
               (b * args.out_batch_stride + first * args.out_row_stride + h * args.value_dim) * element;
    tile.q_row_stride = args.q.row_stride;
    tile.k_row_stride = args.k.row_stride;
    tile.v_row_stride = args.v.row_stride;
    tile.out_row_stride = args.out_row_stride;
    tile.queries = static_cast<int>(std::min<std::int64_t>(path.tile_queries, args.queries - first));
    tile.keys = args.keys;
    tile.head_dim = args.head_dim;
    tile.value_dim = args.value_dim;
    tile.scale = args.scale;
    tile.scratch = static_cast<std::byte*>(args.scratch) + static_cast<std::size_t>(worker) * scratch_stride;
    path.attend(tile, args.dtype);
  });
}

}  // namespace vistazo::cpu
