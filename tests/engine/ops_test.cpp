#include "engine/ops.h"

#include <doctest/doctest.h>

#include <string>

#include "engine/backend.h"
#include "engine/ops_cost.h"
#include "kernels/base/error.h"

namespace vistazo {
namespace {

template <typename Call>
std::string error_of(Call&& call) {
  try {
    call();
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

TEST_CASE("the arena gives blocks back in reverse and remembers its peak") {
  AlignedBuffer memory(1024);
  Arena arena(memory.data(), memory.size());
  void* first = arena.allocate(10);
  const std::size_t mark = arena.used();
  CHECK(mark == kAlignment);
  arena.allocate(200);
  arena.release_to(mark);
  CHECK(static_cast<std::byte*>(arena.allocate(1)) - static_cast<std::byte*>(first) == kAlignment);
  CHECK(arena.peak() == 64 + 256);
  CHECK_THROWS_AS(arena.allocate(1024), Error);
}

TEST_CASE("columns of a tensor are a tensor") {
  float data[2 * 3 * 8] = {};
  const Tensor x{data, {2, 3, 8}, DType::f32, 8};
  const Tensor part = x.columns(2, 6);
  CHECK(part.data == data + 2);
  CHECK(part.shape == Shape({2, 3, 4}));
  CHECK(part.row_stride == 8);
  CHECK_FALSE(part.is_dense());
  CHECK(part.reshaped({6, 4}).row_stride == 8);
  CHECK(Shape({2, 60, 4}).text() == "(2, 60, 4)");
}

TEST_CASE("the cost backend counts what the formulas say and runs nothing") {
  const auto backend = make_cpu_backend(Precision::f32, 1);
  const auto target = backend->make_ops(0);
  CostOps ops(*target);
  const std::vector<float> weight(16 * 8), bias(16);
  const Linear linear = backend->weights().linear(weight, bias, 8, 16);
  const Tensor x = ops.empty({2, 5, 8}, DType::f32);
  ops.linear(x, linear);
  CHECK(ops.cost().flops == 2.0 * 10 * 8 * 16);
  const Tensor q = ops.empty({3, 7, 32}, DType::f32), k = ops.empty({3, 11, 32}, DType::f32),
               v = ops.empty({3, 11, 16}, DType::f32);
  const double before = ops.cost().flops;
  ops.attention(q, k, v, 4);
  CHECK(ops.cost().flops - before == 2.0 * 3 * 4 * 7 * 11 * (8 + 4));
  CHECK(ops.cost().peak_scratch_bytes > 0);
}

TEST_CASE("a convolution reads and writes slices of channels, and adds to what is there") {
  const auto backend = make_cpu_backend(Precision::f32, 1);
  const auto ops = backend->make_ops(1 << 20);
  const std::vector<float> weight{1.0f, 10.0f};
  const Convolution sum = backend->weights().convolution(weight, {}, {2, 1, 1, 1});
  const Tensor x = ops->empty({1, 2, 1, 3}, DType::f32), y = ops->empty({1, 2, 1, 2}, DType::f32);
  ops->upload(std::vector<float>{1, 2, 3, 4, 5, 6}, x);
  ops->upload(std::vector<float>{100, 200, 300, -900}, y);
  ops->convolution_into(x.columns(1, 3), sum, y.columns(1, 2),
                        {.activation = Activation::relu, .accumulate = true, .post_scale = 2, .post_bias = 1});
  std::vector<float> result(4);
  ops->download(y, result);
  CHECK(result == std::vector<float>{100, 2 * (200 + 2 + 30) + 1, 300, 1});
  CHECK_THROWS_AS(ops->convolution_into(x.columns(1, 3), sum, y), Error);
  CHECK_THROWS_AS(ops->convolution(x.columns(1, 3), sum, {.accumulate = true}), Error);
}

TEST_CASE("pixels to channels last, pooled, resized into a slice") {
  const auto backend = make_cpu_backend(Precision::f32, 1);
  const auto ops = backend->make_ops(1 << 20);
  const Tensor pixels = ops->empty({1, 2, 2, 2}, DType::f32), y = ops->empty({1, 2, 2, 3}, DType::f32);
  ops->upload(std::vector<float>{1, 2, 3, 4, 10, 20, 30, 40}, pixels);
  ops->upload(std::vector<float>(12), y);
  const Tensor map = ops->channels_last(pixels);
  CHECK(map.shape == Shape({1, 2, 2, 2}));
  const Tensor largest = ops->pooling(map, Pooling::max, {.height = 2, .width = 2, .stride = 2});
  ops->resize_into(largest, MapInterpolation::nearest, y.columns(1, 3));
  std::vector<float> result(12);
  ops->download(y, result);
  CHECK(result == std::vector<float>{0, 4, 40, 0, 4, 40, 0, 4, 40, 0, 4, 40});
  CHECK_THROWS_AS(ops->pooling(map, Pooling::max, {.height = 3, .width = 1}), Error);
  CHECK_THROWS_AS(ops->resize_into(largest, MapInterpolation::nearest, y), Error);
}

TEST_CASE("a convolution of pixels goes through channels last on the CPU") {
  const auto backend = make_cpu_backend(Precision::f32, 1);
  const auto ops = backend->make_ops(1 << 20);
  const std::vector<float> weight{1, 2, 3, 4, 100, 200, 300, 400}, bias{0.5f};
  const Convolution sum = backend->weights().convolution(weight, bias, {2, 1, 2, 2});
  const Tensor pixels = ops->empty({1, 2, 2, 3}, DType::f32);
  ops->upload(std::vector<float>{1, 2, 3, 4, 5, 6, 10, 20, 30, 40, 50, 60}, pixels);
  const Tensor y = ops->convolution_of_pixels(pixels, sum);
  REQUIRE(y.shape == Shape({1, 1, 2, 1}));
  std::vector<float> result(2);
  ops->download(y, result);
  CHECK(result == std::vector<float>{37.5f + 37000, 47.5f + 47000});
  CHECK_THROWS_AS(ops->convolution_of_pixels(pixels.reshaped({2, 1, 2, 3}), sum), Error);
}

TEST_CASE("shapes that do not go together are refused with what was found") {
  const auto backend = make_cpu_backend(Precision::f32, 1);
  const auto ops = backend->make_ops(1 << 20);
  const std::vector<float> weight(16 * 8), bias(16);
  const Linear linear = backend->weights().linear(weight, bias, 8, 16);
  const Tensor x = ops->empty({2, 5, 9}, DType::f32);
  CHECK(error_of([&] { ops->linear(x, linear); }).find("(2, 5, 9)") != std::string::npos);
  const Tensor q = ops->empty({2, 5, 12}, DType::f32), k = ops->empty({2, 6, 16}, DType::f32);
  CHECK(error_of([&] { ops->attention(q, k, k, 4); }).find("(2, 6, 16)") != std::string::npos);
  CHECK_THROWS_AS(ops->attention(q, q, q, 5), Error);
  const Rope rope{ops->empty({4, 4}, DType::f32), 1};
  CHECK(error_of([&] { ops->attention(q, q, q, 3, &rope); }) == "");
  CHECK(error_of([&] { ops->attention(q, q, q, 2, &rope); }).find("(4, 4)") != std::string::npos);
  const Tensor longer = ops->empty({2, 6, 12}, DType::f32);
  CHECK_THROWS_AS(ops->attention(longer, q, q, 3, &rope), Error);
  const Tensor logits = ops->empty({1, 10, 3}, DType::f32), proposals = ops->empty({10, 4}, DType::f32);
  CHECK(error_of([&] { ops->top_proposals(logits, proposals, 11); }).find("11 queries") != std::string::npos);
}

TEST_CASE("constants are made once for each input size") {
  const auto backend = make_cpu_backend(Precision::f32, 1);
  const auto ops = backend->make_ops(0);
  int calls = 0;
  const auto get = [&](int side) {
    return ops->constant("table", {side, side}, {side}, [&](std::span<float> values) {
      ++calls;
      for (float& v : values) v = static_cast<float>(side);
    });
  };
  const Tensor a = get(3), b = get(4), c = get(3);
  CHECK(calls == 2);
  CHECK(a.data == c.data);
  CHECK(static_cast<const float*>(b.data)[3] == 4.0f);
  for (int side = 1; side < 200; ++side) get(side);  // more than are kept
  CHECK(static_cast<const float*>(get(199).data)[0] == 199.0f);
}

TEST_CASE("an unsupported precision or device says what there is") {
  CHECK(error_of([] { make_cpu_backend(Precision::f16, 1); }).find("f32 or bf16") != std::string::npos);
  Options options;
  options.device = Device::cuda;
  CHECK(error_of([&] { make_backend(options); }).find("cpu") != std::string::npos);
}

}  // namespace
}  // namespace vistazo
