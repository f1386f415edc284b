#include "engine/ops.h"

#include <cmath>

#include "kernels/base/error.h"

namespace vistazo {
namespace {

// A model that calls an op with the wrong shape was given weights, a config or an input size that do not go together.
void require(bool condition, const char* op, const char* wanted, const Tensor& x) {
  if (!condition) {
    fail(Error::Code::argument, "{}: {} is wanted, not {} {}", op, wanted, name_of(x.dtype), x.shape.text());
  }
}

Shape with_last(const Shape& shape, std::int64_t last) {
  switch (shape.rank()) {
    case 1:
      return {last};
    case 2:
      return {shape[0], last};
    case 3:
      return {shape[0], shape[1], last};
    default:
      return {shape[0], shape[1], shape[2], last};
  }
}

bool is_float(DType dtype) {
  return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16;
}

AttentionOperand operand(const Tensor& x) {
  return {x.data, x.shape[1] * x.row_stride, x.row_stride};
}

// The norm of x's rows into as many of y.
LayerNormArgs norm_args(const Tensor& x, const Norm& w, const Tensor& y) {
  return {.x = x.data,
          .y = y.data,
          .scale = w.scale,
          .bias = w.bias,
          .rows = y.rows(),
          .cols = w.size,
          .x_row_stride = x.row_stride,
          .y_row_stride = y.row_stride,
          .eps = w.eps,
          .activation = Activation::none,
          .x_dtype = x.dtype,
          .y_dtype = y.dtype};
}

}  // namespace

Tensor Ops::empty(const Shape& shape, DType dtype) {
  const std::size_t bytes = static_cast<std::size_t>(shape.elements()) * size_of(dtype);
  return {arena_.allocate(bytes), shape, dtype, shape.last()};
}

std::vector<OpTime> Ops::profile(const std::function<void()>& pass) {
  std::vector<OpTime> times;
  struct Recording {
    Ops& ops;
    ~Recording() { ops.profile_ = nullptr; }
  };
  const Recording recording{*this};
  profile_ = &times;
  pass();
  return times;
}

void Ops::upload(std::span<const float> from, const Tensor& to) {
  require(to.dtype == DType::f32 && to.is_dense() && static_cast<std::size_t>(to.shape.elements()) == from.size(),
          "upload", "a dense f32 tensor of as many elements", to);
  copy_to_device(from.data(), static_cast<float*>(to.data), from.size());
}

void Ops::download(const Tensor& from, std::span<float> to) {
  require(from.dtype == DType::f32 && from.is_dense() && static_cast<std::size_t>(from.shape.elements()) == to.size(),
          "download", "a dense f32 tensor of as many elements", from);
  copy_to_host(static_cast<const float*>(from.data), to.data(), to.size());
}

Tensor Ops::linear(const Tensor& x, const Linear& w, Activation activation) {
  require(x.cols() == w.in && x.dtype == dtype(), "linear", "an input of the weight's width and the model's dtype", x);
  Tensor y = empty(with_last(x.shape, w.out), dtype());
  run({x.data, y.data, x.rows(), x.row_stride, y.row_stride, y.dtype, activation, false}, w);
  return y;
}

Tensor Ops::linear_f32(const Tensor& x, const Linear& w) {
  Tensor y = empty(with_last(x.shape, w.out), DType::f32);
  linear_into(x, w, y);
  return y;
}

void Ops::linear_into(const Tensor& x, const Linear& w, const Tensor& y) {
  require(x.cols() == w.in && x.dtype == dtype(), "linear", "an input of the weight's width and the model's dtype", x);
  require(y.cols() == w.out && y.rows() == x.rows() && (y.dtype == dtype() || y.dtype == DType::f32), "linear",
          "a result of the weight's width, in f32 or the model's dtype", y);
  run({x.data, y.data, x.rows(), x.row_stride, y.row_stride, y.dtype, Activation::none, false}, w);
}

void Ops::linear_add(const Tensor& x, const Linear& w, const Tensor& y) {
  require(x.cols() == w.in && x.dtype == dtype(), "linear", "an input of the weight's width and the model's dtype", x);
  require(y.cols() == w.out && y.rows() == x.rows() && (y.dtype == dtype() || y.dtype == DType::f32), "linear_add",
          "a residual of the result's shape, in f32 or the model's dtype", y);
  run({x.data, y.data, x.rows(), x.row_stride, y.row_stride, y.dtype, Activation::none, true}, w);
}

Tensor Ops::convolution(const Tensor& x, const Convolution& w, const ConvolutionEpilogue& epilogue) {
  require(x.shape.rank() == 4 && !epilogue.accumulate, "convolution", "an NHWC input, and a result to add to", x);
  const int height = w.shape.out_height(static_cast<int>(x.shape[1]));
  const int width = w.shape.out_width(static_cast<int>(x.shape[2]));
  require(height > 0 && width > 0, "convolution", "an input that the kernel fits into", x);
  Tensor y = empty({x.shape[0], height, width, w.shape.out_channels}, dtype());
  convolution_into(x, w, y, epilogue);
  return y;
}

void Ops::convolution_into(const Tensor& x, const Convolution& w, const Tensor& y,
                           const ConvolutionEpilogue& epilogue) {
  require(x.shape.rank() == 4 && x.cols() == w.shape.in_channels && x.dtype == dtype(), "convolution",
          "an NHWC input with the weight's channels and the model's dtype", x);
  const int batch = static_cast<int>(x.shape[0]);
  const int height = static_cast<int>(x.shape[1]), width = static_cast<int>(x.shape[2]);
  const Shape result{batch, w.shape.out_height(height), w.shape.out_width(width), w.shape.out_channels};
  require(y.shape == result && (y.dtype == dtype() || y.dtype == DType::f32), "convolution",
          "a result of the size that the kernel gives", y);
  run({.x = x.data,
       .y = y.data,
       .batch = batch,
       .height = height,
       .width = width,
       .y_dtype = y.dtype,
       .activation = epilogue.activation,
       .x_pixel_stride = x.row_stride,
       .y_pixel_stride = y.row_stride,
       .accumulate = epilogue.accumulate,
       .post_scale = epilogue.post_scale,
       .post_bias = epilogue.post_bias},
      w);
}

Tensor Ops::convolution_of_pixels(const Tensor& pixels, const Convolution& w, const ConvolutionEpilogue& epilogue) {
  if (!reads_planes(w.shape)) return convolution(channels_last(pixels), w, epilogue);
  require(pixels.shape.rank() == 4 && pixels.shape[1] == w.shape.in_channels && pixels.dtype == DType::f32 &&
              pixels.is_dense() && !epilogue.accumulate,
          "convolution", "dense pixels (B, C, H, W) in f32 with the weight's channels, and a result to add to", pixels);
  const int batch = static_cast<int>(pixels.shape[0]);
  const int height = static_cast<int>(pixels.shape[2]), width = static_cast<int>(pixels.shape[3]);
  const int out_height = w.shape.out_height(height), out_width = w.shape.out_width(width);
  require(out_height > 0 && out_width > 0, "convolution", "an input that the kernel fits into", pixels);
  Tensor y = empty({batch, out_height, out_width, w.shape.out_channels}, dtype());
  run({.x = pixels.data,
       .y = y.data,
       .batch = batch,
       .height = height,
       .width = width,
       .y_dtype = y.dtype,
       .activation = epilogue.activation,
       .post_scale = epilogue.post_scale,
       .post_bias = epilogue.post_bias,
       .is_x_planar = true},
      w);
  return y;
}

Tensor Ops::pooling(const Tensor& x, Pooling kind, const PoolingWindow& window) {
  require(x.shape.rank() == 4, "pooling", "an NHWC input", x);
  const int height = window.out_height(static_cast<int>(x.shape[1]));
  const int width = window.out_width(static_cast<int>(x.shape[2]));
  require(height > 0 && width > 0, "pooling", "an input that the window fits into", x);
  Tensor y = empty({x.shape[0], height, width, x.cols()}, x.dtype);
  pooling_into(x, kind, window, y);
  return y;
}

void Ops::pooling_into(const Tensor& x, Pooling kind, const PoolingWindow& window, const Tensor& y) {
  require(x.shape.rank() == 4 && is_float(x.dtype), "pooling", "an NHWC input", x);
  const int batch = static_cast<int>(x.shape[0]);
  const int height = static_cast<int>(x.shape[1]), width = static_cast<int>(x.shape[2]);
  require(y.shape == Shape({batch, window.out_height(height), window.out_width(width), x.cols()}) && y.dtype == x.dtype,
          "pooling", "a result of the size that the window gives", y);
  run(PoolingArgs{x.data, y.data, batch, height, width, x.cols(), window, kind, x.row_stride, y.row_stride, x.dtype});
}

void Ops::resize_into(const Tensor& x, MapInterpolation interpolation, const Tensor& y) {
  require(x.shape.rank() == 4 && is_float(x.dtype), "resize", "an NHWC input", x);
  require(y.shape.rank() == 4 && y.shape[0] == x.shape[0] && y.cols() == x.cols() && y.dtype == x.dtype, "resize",
          "a result with the input's batch, channels and dtype", y);
  run(MapResizeArgs{x.data, y.data, static_cast<int>(x.shape[0]), static_cast<int>(x.shape[1]),
                    static_cast<int>(x.shape[2]), static_cast<int>(y.shape[1]), static_cast<int>(y.shape[2]), x.cols(),
                    interpolation, x.row_stride, y.row_stride, x.dtype});
}

Tensor Ops::channels_last(const Tensor& pixels) {
  require(pixels.shape.rank() == 4, "channels_last", "pixels (B, C, H, W)", pixels);
  const int height = static_cast<int>(pixels.shape[2]), width = static_cast<int>(pixels.shape[3]);
  return patches(pixels, 1, {height, width, 1, 0}).reshaped({pixels.shape[0], height, width, pixels.shape[1]});
}

Tensor Ops::depth_to_space(const Tensor& x) {
  require(x.shape.rank() == 4 && x.cols() % 4 == 0 && x.is_dense(), "depth_to_space",
          "a dense NHWC input with 4 channels for each of the result's", x);
  Tensor y = empty({x.shape[0], 2 * x.shape[1], 2 * x.shape[2], x.shape[3] / 4}, x.dtype);
  run({x.data, y.data, static_cast<int>(x.shape[0]), static_cast<int>(x.shape[1]), static_cast<int>(x.shape[2]),
       x.cols() / 4, x.dtype});
  return y;
}

Tensor Ops::layer_norm(const Tensor& x, const Norm& w, Activation activation) {
  Tensor y = empty(x.shape, dtype());
  layer_norm_into(x, w, y, activation);
  return y;
}

void Ops::layer_norm_into(const Tensor& x, const Norm& w, const Tensor& y, Activation activation) {
  require(x.cols() == w.size && is_float(x.dtype), "layer_norm", "an input of the norm's width", x);
  require(y.cols() == w.size && y.rows() == x.rows() && is_float(y.dtype), "layer_norm", "a result like the input", y);
  LayerNormArgs args = norm_args(x, w, y);
  args.activation = activation;
  run(args);
}

void Ops::layer_norm_to_grid(const Tensor& x, const Norm& w, const WindowGrid& grid, const Tensor& y) {
  require(x.shape.rank() == 3 && x.shape[1] == grid.tokens() && x.cols() == w.size && is_float(x.dtype), "layer_norm",
          "tokens (B, N, C) of the grid and of the norm's width", x);
  require(y.shape == Shape({x.shape[0], grid.height, grid.width, x.cols()}) && is_float(y.dtype), "layer_norm",
          "a feature map (B, height, width, C)", y);
  LayerNormArgs args = norm_args(x, w, y);
  args.grid = grid;
  run(args);
}

Tensor Ops::layer_norm_for(const Tensor& y, const Norm& w, const Tensor* addend) {
  require(y.cols() == w.size && y.dtype == DType::f32, "layer_norm", "f32 of the norm's width", y);
  if (addend) {
    require(addend->shape == y.shape && addend->dtype == dtype() && addend->is_dense(), "layer_norm",
            "an addend of the model's dtype and the norm's shape", *addend);
  }
  Tensor extra = empty(y.shape, dtype());
  LayerNormArgs args = norm_args(y, w, y);
  args.extra = extra.data;
  args.addend = addend ? addend->data : nullptr;
  args.extra_dtype = dtype();
  run(args);
  return extra;
}

void Ops::rms_norm_into(const Tensor& x, const Norm& w, const Tensor& y) {
  require(x.cols() == w.size && is_float(x.dtype), "rms_norm", "an input of the norm's width", x);
  require(y.cols() == w.size && y.rows() == x.rows() && is_float(y.dtype), "rms_norm", "a result like the input", y);
  run(RmsNormArgs{x.data, y.data, w.scale, x.rows(), w.size, x.row_stride, y.row_stride, w.eps, x.dtype, y.dtype});
}

Tensor Ops::swiglu(const Tensor& x) {
  require(x.dtype == dtype() && x.cols() % 2 == 0, "swiglu", "an even width and the model's dtype", x);
  Tensor y = empty(with_last(x.shape, x.cols() / 2), dtype());
  run(SwigluArgs{x.data, y.data, x.rows(), y.cols(), x.row_stride, x.dtype});
  return y;
}

void Ops::gated_sum_into(const Tensor& gates, const Tensor& added, const Tensor& x) {
  require(x.dtype == DType::f32 && x.is_dense(), "gated_sum", "a dense f32 residual", x);
  require(gates.dtype == DType::f32 && gates.is_dense() && gates.rows() == x.rows() && gates.cols() == 2 * x.cols(),
          "gated_sum", "two f32 gates for each element of the residual", gates);
  require(added.dtype == dtype() && added.is_dense() && added.rows() == x.rows() && added.cols() == x.cols(),
          "gated_sum", "a dense second operand of the residual's shape and the model's dtype", added);
  auto* residual = static_cast<float*>(x.data);
  run(GatedSumArgs{static_cast<const float*>(gates.data), residual, added.data, residual, x.rows(), x.cols(),
                   added.dtype});
}

Tensor Ops::attention(const Tensor& q, const Tensor& k, const Tensor& v, int heads, const Rope* rope) {
  require(q.shape.rank() == 3 && q.dtype == dtype() && q.cols() % heads == 0, "attention", "q (B, N, heads * dim)", q);
  require(k.shape.rank() == 3 && k.dtype == dtype() && k.shape[0] == q.shape[0] && k.cols() == q.cols(), "attention",
          "k with the batch and width of q", k);
  require(v.shape.rank() == 3 && v.dtype == dtype() && v.shape[0] == q.shape[0] && v.shape[1] == k.shape[1] &&
              v.cols() % heads == 0,
          "attention", "v with the batch and tokens of k", v);
  const int head_dim = q.cols() / heads;
  require(!rope || (rope->table.shape == Shape({k.shape[1] - rope->prefix, head_dim}) &&
                    rope->table.dtype == DType::f32 && rope->table.is_dense()),
          "attention", "a table (N - prefix, dim) in f32", rope ? rope->table : q);
  Tensor out = empty({q.shape[0], q.shape[1], v.shape[2]}, dtype());
  const auto released = scope();
  AttentionArgs args{.q = operand(q),
                     .k = operand(k),
                     .v = operand(v),
                     .out = out.data,
                     .out_batch_stride = out.shape[1] * out.row_stride,
                     .out_row_stride = out.row_stride,
                     .batch = static_cast<int>(q.shape[0]),
                     .heads = heads,
                     .queries = static_cast<int>(q.shape[1]),
                     .keys = static_cast<int>(k.shape[1]),
                     .head_dim = head_dim,
                     .value_dim = v.cols() / heads,
                     .scale = 1.0f / std::sqrt(static_cast<float>(head_dim)),
                     .dtype = dtype(),
                     .scratch = nullptr};
  if (rope) args.rope = {static_cast<const float*>(rope->table.data), rope->prefix};
  args.scratch = arena_.allocate(scratch_bytes(args));
  run(args);
  return out;
}

Tensor Ops::deformable_attention(const Tensor& value, std::span<const GridSize> levels, const Tensor& reference,
                                 const Tensor& offset_logits, int heads, std::span<const int> points,
                                 bool takes_nearest) {
  const int level_count = static_cast<int>(levels.size());
  require(level_count >= 1 && level_count <= DeformableAttentionArgs::kMaxLevels && points.size() == levels.size(),
          "deformable_attention", "1 to 4 levels of value, each with a number of points", value);
  DeformableAttentionArgs args{};
  args.levels = level_count;
  std::int64_t area = 0;
  for (int i = 0; i < level_count; ++i) {
    args.level_points[i] = points[static_cast<std::size_t>(i)];
    args.level_height[i] = levels[static_cast<std::size_t>(i)].height;
    args.level_width[i] = levels[static_cast<std::size_t>(i)].width;
    area += levels[static_cast<std::size_t>(i)].area();
  }
  require(value.shape.rank() == 3 && value.shape[1] == area && value.cols() % heads == 0 && value.dtype == dtype(),
          "deformable_attention", "value (B, sum of the levels' areas, heads * dim)", value);
  require(reference.shape.rank() == 3 && reference.shape[0] == value.shape[0] && reference.cols() == 4 &&
              reference.dtype == DType::f32 && reference.is_dense(),
          "deformable_attention", "reference (B, Q, 4) in f32", reference);
  require(offset_logits.rows() == reference.rows() && offset_logits.dtype == DType::f32 && offset_logits.is_dense() &&
              offset_logits.cols() == heads * args.head_samples() * 3,
          "deformable_attention", "offsets and logits (B, Q, heads * sum of points * 3) in f32", offset_logits);
  Tensor out = empty({value.shape[0], reference.shape[1], value.shape[2]}, dtype());
  args.value = value.data;
  args.reference = static_cast<const float*>(reference.data);
  args.offset_logits = static_cast<const float*>(offset_logits.data);
  args.out = out.data;
  args.batch = static_cast<int>(value.shape[0]);
  args.queries = static_cast<int>(reference.shape[1]);
  args.heads = heads;
  args.head_dim = value.cols() / heads;
  args.value_row_stride = value.row_stride;
  args.dtype = dtype();
  args.takes_nearest = takes_nearest;
  run(args);
  return out;
}

Tensor Ops::sine_embedding(const Tensor& boxes, int dim, float temperature) {
  require(boxes.cols() == 4 && boxes.dtype == DType::f32 && boxes.is_dense(), "sine_embedding", "boxes (..., 4) in f32",
          boxes);
  Tensor y = empty(with_last(boxes.shape, 4 * dim), dtype());
  run(SineEmbeddingArgs{static_cast<const float*>(boxes.data), y.data, boxes.rows(), dim, temperature, y.dtype});
  return y;
}

Tensor Ops::add(const Tensor& a, const Tensor& b) {
  Tensor y = empty(a.shape, dtype());
  add_into(a, b, y);
  return y;
}

void Ops::add_into(const Tensor& a, const Tensor& b, const Tensor& y) {
  require(b.cols() == a.cols() && b.is_dense() && b.rows() > 0 && a.rows() % b.rows() == 0, "add",
          "a second operand that repeats over the first", b);
  require(y.cols() == a.cols() && y.rows() == a.rows() && is_float(y.dtype), "add", "a result like the first operand",
          y);
  run(AddArgs{a.data, b.data, y.data, a.rows(), b.rows(), a.cols(), a.row_stride, y.row_stride, a.dtype, b.dtype,
              y.dtype});
}

Tensor Ops::add_mean(const Tensor& x) {
  require(x.shape.rank() == 3 && x.dtype == dtype() && x.is_dense(), "add_mean", "dense tokens (B, N, C)", x);
  Tensor y = empty(x.shape, dtype());
  run(AddMeanArgs{x.data, y.data, static_cast<int>(x.shape[0]), static_cast<int>(x.shape[1]), x.cols(), x.dtype});
  return y;
}

Tensor Ops::activate(const Tensor& x, Activation activation) {
  require(is_float(x.dtype) && x.is_dense(), "activate", "a dense tensor of floats", x);
  Tensor y = empty(x.shape, x.dtype);
  run(ActivationArgs{x.data, y.data, x.shape.elements(), activation, x.dtype});
  return y;
}

void Ops::clamp(const Tensor& x, float low, float high) {
  require(is_float(x.dtype) && x.is_dense(), "clamp", "a dense tensor of floats", x);
  run(ClampArgs{x.data, x.shape.elements(), low, high, x.dtype});
}

void Ops::mask_rows(const Tensor& x, const Tensor& mask) {
  require(x.shape.rank() == 3 && is_float(x.dtype) && x.is_dense(), "mask_rows", "dense rows (B, N, C)", x);
  require(mask.shape.elements() == x.shape[1] && mask.dtype == DType::f32 && mask.is_dense(), "mask_rows",
          "a mask (N) in f32", mask);
  run(MaskRowsArgs{x.data, static_cast<const float*>(mask.data), static_cast<int>(x.shape[0]),
                   static_cast<int>(x.shape[1]), x.cols(), x.dtype});
}

std::array<Tensor, 2> Ops::cast_and_add(const Tensor& a, const Tensor& b) {
  require(b.shape == a.shape && b.is_dense() && is_float(a.dtype) && is_float(b.dtype), "cast_and_add",
          "two operands of a shape", b);
  const Tensor copy = empty(a.shape, dtype()), sum = empty(a.shape, dtype());
  run(AddArgs{.a = a.data,
              .b = b.data,
              .y = sum.data,
              .rows = a.rows(),
              .b_rows = a.rows(),
              .cols = a.cols(),
              .a_row_stride = a.row_stride,
              .y_row_stride = sum.row_stride,
              .a_dtype = a.dtype,
              .b_dtype = b.dtype,
              .y_dtype = dtype(),
              .a_copy = copy.data});
  return {copy, sum};
}

Tensor Ops::cast(const Tensor& x, DType dtype) {
  if (x.dtype == dtype && x.is_dense()) return x;
  Tensor y = empty(x.shape, dtype);
  copy_into(x, y);
  return y;
}

void Ops::copy_into(const Tensor& x, const Tensor& y) {
  require(y.cols() == x.cols() && y.rows() == x.rows() && is_float(x.dtype) && is_float(y.dtype), "copy_into",
          "a result like the input", y);
  run(AddArgs{x.data, nullptr, y.data, x.rows(), 1, x.cols(), x.row_stride, y.row_stride, x.dtype, x.dtype, y.dtype});
}

Tensor Ops::repeat(const Tensor& table, int batch, DType dtype) {
  require(table.shape.rank() == 2 && table.dtype == DType::f32 && table.is_dense(), "repeat", "(rows, cols) in f32",
          table);
  require(is_float(dtype), "repeat", "a floating-point result", table);
  Tensor y = empty({batch, table.shape[0], table.shape[1]}, dtype);
  run(AddArgs{.a = table.data,
              .b = nullptr,
              .y = y.data,
              .rows = y.rows(),
              .b_rows = 1,
              .cols = y.cols(),
              .a_row_stride = table.row_stride,
              .y_row_stride = y.row_stride,
              .a_dtype = DType::f32,
              .b_dtype = DType::f32,
              .y_dtype = dtype,
              .a_rows = table.rows()});
  return y;
}

Tensor Ops::patches(const Tensor& pixels, int patch, const WindowGrid& grid) {
  require(pixels.shape.rank() == 4 && pixels.dtype == DType::f32 && pixels.is_dense() &&
              pixels.shape[2] == static_cast<std::int64_t>(grid.height) * patch &&
              pixels.shape[3] == static_cast<std::int64_t>(grid.width) * patch,
          "patches", "pixels (B, C, grid height * patch, grid width * patch) in f32", pixels);
  const int channels = static_cast<int>(pixels.shape[1]);
  Tensor y = empty({pixels.shape[0], grid.tokens(), channels * patch * patch}, dtype());
  run(PatchesArgs{static_cast<const float*>(pixels.data), y.data, static_cast<int>(pixels.shape[0]), channels, patch,
                  grid, y.dtype});
  return y;
}

void Ops::windows_to_grid(const Tensor& x, const WindowGrid& grid, const Tensor& y) {
  require(x.shape.rank() == 3 && x.shape[1] == grid.tokens() && x.is_dense(), "windows_to_grid",
          "tokens (B, grid tokens, C)", x);
  require(y.shape.rank() == 4 && y.shape[0] == x.shape[0] && y.shape[1] == grid.height && y.shape[2] == grid.width &&
              y.cols() == x.cols() && y.dtype == x.dtype,
          "windows_to_grid", "a feature map (B, height, width, C)", y);
  run(WindowsToGridArgs{x.data, y.data, static_cast<int>(x.shape[0]), x.cols(), y.row_stride, grid, x.dtype});
}

Tensor Ops::gather_rows(const Tensor& x, const Tensor& index) {
  const bool shared = x.shape.rank() == 2;
  require(x.is_dense() && (shared || (x.shape.rank() == 3 && x.shape[0] == index.shape[0])), "gather_rows",
          "(B, rows, C) or (rows, C), dense", x);
  require(index.shape.rank() == 2 && index.dtype == DType::i32, "gather_rows", "an index (B, n) in i32", index);
  Tensor y = empty({index.shape[0], index.shape[1], x.cols()}, x.dtype);
  run(GatherRowsArgs{x.data, static_cast<const std::int32_t*>(index.data), y.data, static_cast<int>(index.shape[0]),
                     static_cast<int>(x.shape[shared ? 0 : 1]), static_cast<int>(index.shape[1]), x.cols(), shared,
                     x.dtype});
  return y;
}

Tensor Ops::top_proposals(const Tensor& logits, const Tensor& proposals, int k) {
  require(proposals.shape == Shape({logits.shape[1], 4}) && proposals.dtype == DType::f32, "top_proposals",
          "proposals (N, 4) in f32", proposals);
  return top_of(logits, static_cast<const float*>(proposals.data), k);
}

Tensor Ops::top_rows(const Tensor& logits, int k) {
  return top_of(logits, nullptr, k);
}

Tensor Ops::top_of(const Tensor& logits, const float* proposals, int k) {
  require(logits.shape.rank() == 3 && logits.dtype == DType::f32 && logits.is_dense(), "top_proposals",
          "logits (B, N, K) in f32", logits);
  const int batch = static_cast<int>(logits.shape[0]), rows = static_cast<int>(logits.shape[1]);
  if (k > rows) {
    fail(Error::Code::argument, "an input of this size gives {} proposals, fewer than the model's {} queries", rows, k);
  }
  Tensor index = empty({batch, k}, DType::i32);
  const auto released = scope();
  const Tensor scores = empty({batch, rows}, DType::f32);
  run(ProposalScoresArgs{static_cast<const float*>(logits.data), proposals, static_cast<float*>(scores.data), batch,
                         rows, logits.cols()});
  TopKArgs args{.scores = static_cast<const float*>(scores.data),
                .values = nullptr,
                .index = static_cast<std::int32_t*>(index.data),
                .rows = batch,
                .cols = rows,
                .k = k,
                .scratch = nullptr};
  args.scratch = arena_.allocate(scratch_bytes(args));
  run(args);
  return index;
}

Tensor Ops::select_detections(const Tensor& logits, const Tensor& boxes, float min_logit, int most) {
  constexpr int kWords = sizeof(DetectionCandidate) / sizeof(float);
  require(logits.shape.rank() == 3 && logits.dtype == DType::f32 && logits.is_dense(), "select_detections",
          "logits (B, Q, K) in f32", logits);
  require(boxes.shape == Shape({logits.shape[0], logits.shape[1], 4}) && boxes.dtype == DType::f32 && boxes.is_dense(),
          "select_detections", "boxes (B, Q, 4) in f32", boxes);
  const std::int64_t batch = logits.shape[0];
  Tensor selected = empty({batch * (kWords * most + 1)}, DType::f32);
  const auto released = scope();
  auto* words = static_cast<float*>(selected.data);
  SelectDetectionsArgs args{.logits = static_cast<const float*>(logits.data),
                            .boxes = static_cast<const float*>(boxes.data),
                            .candidates = reinterpret_cast<DetectionCandidate*>(words),
                            .count = reinterpret_cast<std::int32_t*>(words + batch * kWords * most),
                            .batch = static_cast<int>(batch),
                            .queries = static_cast<int>(logits.shape[1]),
                            .classes = logits.cols(),
                            .max_detections = most,
                            .min_logit = min_logit,
                            .scratch = nullptr};
  args.scratch = arena_.allocate(scratch_bytes_of_selection(args));
  select(args);
  return selected;
}

Tensor Ops::refine_boxes(const Tensor& reference, const Tensor& delta) {
  Tensor y = empty(reference.shape, DType::f32);
  refine_boxes_into(reference, delta, y);
  return y;
}

void Ops::refine_boxes_into(const Tensor& reference, const Tensor& delta, const Tensor& y) {
  require(reference.cols() == 4 && reference.dtype == DType::f32 && reference.is_dense(), "refine_boxes",
          "reference boxes (..., 4) in f32", reference);
  require(delta.cols() == 4 && delta.dtype == DType::f32 && delta.is_dense() && delta.rows() > 0 &&
              reference.rows() % delta.rows() == 0,
          "refine_boxes", "deltas (..., 4) in f32 that repeat over the reference", delta);
  require(y.shape == reference.shape && y.dtype == DType::f32 && y.is_dense(), "refine_boxes",
          "boxes like the reference", y);
  run(RefineBoxesArgs{static_cast<const float*>(reference.data), static_cast<const float*>(delta.data),
                      static_cast<float*>(y.data), reference.rows(), delta.rows()});
}

Tensor Ops::logit_boxes(const Tensor& reference, const Tensor& delta, bool reference_is_logits) {
  require(delta.cols() == 4 && delta.dtype == DType::f32 && delta.is_dense(), "logit_boxes", "deltas (..., 4) in f32",
          delta);
  require(reference.cols() == 4 && reference.dtype == DType::f32 && reference.is_dense() && reference.rows() > 0 &&
              delta.rows() % reference.rows() == 0,
          "logit_boxes", "references (..., 4) in f32 that repeat over the deltas", reference);
  Tensor y = empty(delta.shape, DType::f32);
  run(LogitBoxesArgs{static_cast<const float*>(reference.data), static_cast<const float*>(delta.data),
                     static_cast<float*>(y.data), delta.rows(), reference.rows(), reference_is_logits});
  return y;
}

Tensor Ops::edge_boxes(const Tensor& logits, const Tensor& weights, const Tensor& reference, float scale) {
  const int bins = weights.cols();
  require(logits.cols() == 4 * bins && logits.dtype == DType::f32 && logits.is_dense(), "edge_boxes",
          "logits (..., 4 * bins) in f32", logits);
  require(reference.cols() == 4 && reference.dtype == DType::f32 && reference.is_dense() &&
              reference.rows() == logits.rows(),
          "edge_boxes", "reference boxes (..., 4) in f32", reference);
  Tensor y = empty(reference.shape, DType::f32);
  run(EdgeBoxesArgs{{static_cast<const float*>(logits.data), logits.rows(), bins},
                    static_cast<const float*>(weights.data),
                    static_cast<const float*>(reference.data),
                    static_cast<float*>(y.data),
                    scale});
  return y;
}

Tensor Ops::edge_peaks(const Tensor& logits, int bins, int k) {
  require(logits.cols() == 4 * bins && logits.dtype == DType::f32 && logits.is_dense(), "edge_peaks",
          "logits (..., 4 * bins) in f32", logits);
  Tensor y = empty(with_last(logits.shape, 4 * (k + 1)), dtype());
  run(EdgePeaksArgs{{static_cast<const float*>(logits.data), logits.rows(), bins}, y.data, k, y.dtype});
  return y;
}

}  // namespace vistazo
