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

struct Path {
  int tile_queries;  // most rows of a tile
  int query_step;    // rows that are computed together
  std::size_t scratch_bytes;
  void (*attend)(const AttentionTile&, DType);
};

const char* name_of(AttentionPath path) {
  switch (path) {
    case AttentionPath::automatic:
      return "automatic";
    case AttentionPath::amx:
      return "amx";
    case AttentionPath::avx512_bf16:
      return "avx512_bf16";
    case AttentionPath::simd:
      return "simd";
  }
  return "?";
}

AttentionPath best_path(DType dtype) {
  if (dtype != DType::bf16) return AttentionPath::simd;
  return is_amx_available()      ? AttentionPath::amx
         : is_avx512_bf16_fast() ? AttentionPath::avx512_bf16
                                 : AttentionPath::simd;
}

Path make_path(const AttentionArgs& args, AttentionPath requested) {
  const AttentionPath path = requested == AttentionPath::automatic ? best_path(args.dtype) : requested;
  const bool is_bf16 = args.dtype == DType::bf16;
  if (path == AttentionPath::simd) {
    return {kSimdTileQueries, kSimdQueryStep, attention_simd_scratch_bytes(args.head_dim, args.value_dim),
            attention_simd};
  }
  const std::size_t bytes = attention_bf16_scratch_bytes(args.head_dim, args.value_dim);
  if (path == AttentionPath::amx && is_bf16 && is_amx_available()) {
    return {kBf16TileQueries, kBf16QueryStep, bytes, attention_amx};
  }
  if (path == AttentionPath::avx512_bf16 && is_bf16 && is_avx512_bf16_available()) {
    return {kBf16TileQueries, kBf16QueryStep, bytes, attention_avx512_bf16};
  }
  fail(Error::Code::unsupported, "attention: path {} cannot run {} on this processor; simd can", name_of(path),
       vistazo::name_of(args.dtype));
}

// Rows of a tile: as many as the path likes, fewer if workers would otherwise be idle; all tiles of a pair alike, so
// that the last is not a sliver.
int rows_of_tile(const Path& path, int queries, std::int64_t pairs, int threads) {
  constexpr int kItemsPerWorker = 4;
  const std::int64_t steps = (queries + path.query_step - 1) / path.query_step;
  const std::int64_t least = (queries + path.tile_queries - 1) / path.tile_queries;
  const std::int64_t wanted = (std::int64_t{threads} * kItemsPerWorker + pairs - 1) / pairs;
  const std::int64_t tiles = threads == 1 ? least : std::clamp(wanted, least, std::max(least, steps));
  return static_cast<int>((steps + tiles - 1) / tiles) * path.query_step;
}

void check(const AttentionArgs& args) {
  const auto positive = [](const char* name, int value) {
    if (value < 1) fail(Error::Code::unsupported, "attention: {} is {}, must be positive", name, value);
  };
  if (args.dtype != DType::f32 && args.dtype != DType::bf16) {
    fail(Error::Code::unsupported, "attention: dtype is {}, must be f32 or bf16", vistazo::name_of(args.dtype));
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
  check_rope(args.rope, args.queries, args.keys, args.head_dim);
}

std::size_t worker_bytes(const AttentionArgs& args) {
  const std::size_t simd = attention_simd_scratch_bytes(args.head_dim, args.value_dim);
  if (args.dtype != DType::bf16) return align_up(simd);
  return align_up(std::max(simd, attention_bf16_scratch_bytes(args.head_dim, args.value_dim)));
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
  const int rows = rows_of_tile(path, args.queries, pairs, pool.threads());
  const int tiles = (args.queries + rows - 1) / rows;

  pool.for_each(pairs * tiles, [&](std::int64_t item, int worker) {
    const std::int64_t pair = item / tiles, b = pair / args.heads, h = pair % args.heads;
    const std::int64_t first = item % tiles * rows;
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
    tile.queries = static_cast<int>(std::min<std::int64_t>(rows, args.queries - first));
    tile.keys = args.keys;
    tile.head_dim = args.head_dim;
    tile.value_dim = args.value_dim;
    tile.scale = args.scale;
    tile.rope = args.rope;
    tile.first_query = static_cast<int>(first);
    tile.scratch = static_cast<std::byte*>(args.scratch) + static_cast<std::size_t>(worker) * scratch_stride;
    path.attend(tile, args.dtype);
  });
}

}  // namespace vistazo::cpu
