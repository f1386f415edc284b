#include "kernels/base/batch_plan.h"

#include <doctest/doctest.h>

#include <limits>
#include <vector>

#include "kernels/attention.h"
#include "kernels/cuda/convolution.h"
#include "kernels/cuda/linear.h"
#include "tests/cuda/device_buffer.h"
#include "tests/cuda/gemm_paths.h"
#include "tests/support/attention_args.h"
#include "tests/support/buffers.h"

// The rows of an image have the same bits in every batch if kernels are chosen for one. Chosen for the batch itself
// they have others at the sizes here: where they had not, nothing would be tested.
namespace vistazo {
namespace {

using testing::DeviceBuffer;
using testing::random_floats;

constexpr int kImages = 16;

// run(first, batch, plan): the values that images first .. first + batch - 1 get.
template <typename Run>
void check_plan(int chosen_for, Run&& run) {
  const std::vector<float> all = run(0, kImages, BatchPlan{kImages, chosen_for});
  const auto image = static_cast<std::ptrdiff_t>(all.size() / kImages);
  bool differs = false;
  for (const int batch : {1, 3}) {
    for (const int first : {0, kImages - batch}) {
      const std::vector<float> expected(all.begin() + first * image, all.begin() + (first + batch) * image);
      CAPTURE(batch);
      CAPTURE(first);
      CHECK(run(first, batch, BatchPlan{batch, chosen_for}) == expected);
      differs = differs || run(first, batch, BatchPlan{}) != expected;
    }
  }
  if (testing::has_wgmma()) CHECK(differs);
}

// rows: of an image
void check_linear(int rows, int in, int out, bool accumulate, int chosen_for) {
  CAPTURE(in);
  CAPTURE(out);
  const auto count = [](int a, int b) { return static_cast<std::size_t>(a) * static_cast<std::size_t>(b); };
  const auto weight = random_floats(count(in, out), 1), bias = random_floats(count(1, out), 2);
  const cuda::PackedLinear linear(weight.data(), bias.data(), in, out, DType::bf16);
  const DeviceBuffer x(random_floats(count(kImages * rows, in), 3), DType::bf16);
  check_plan(chosen_for, [&](int first, int batch, const BatchPlan& plan) {
    const DeviceBuffer y(std::vector<float>(count(batch * rows, out), 1.0f), DType::f32);
    linear.run({.x = x.at(count(first * rows, in)),
                .y = y.data(),
                .rows = batch * rows,
                .x_row_stride = in,
                .y_row_stride = out,
                .y_dtype = DType::f32,
                .activation = Activation::none,
                .accumulate = accumulate},
               {.plan = plan});
    return y.floats();
  });
}

void check_convolution(const ConvolutionShape& shape, int side, int chosen_for) {
  CAPTURE(shape.in_channels);
  const auto count = [](int images, int pixels, int channels) {
    return static_cast<std::size_t>(images) * static_cast<std::size_t>(pixels) * static_cast<std::size_t>(channels);
  };
  const auto weight = random_floats(count(9, shape.in_channels, shape.out_channels), 1);
  const cuda::PackedConvolution convolution(weight.data(), nullptr, shape, DType::bf16);
  const DeviceBuffer x(random_floats(count(kImages, side * side, shape.in_channels), 2), DType::bf16);
  check_plan(chosen_for, [&](int first, int batch, const BatchPlan& plan) {
    const DeviceBuffer y(count(batch, side * side, shape.out_channels), DType::f32);
    convolution.run({.x = x.at(count(first, side * side, shape.in_channels)),
                     .y = y.data(),
                     .batch = batch,
                     .height = side,
                     .width = side,
                     .y_dtype = DType::f32,
                     .activation = Activation::silu},
                    {.plan = plan});
    return y.floats();
  });
}

void check_attention(int heads, int tokens, int dim, int chosen_for) {
  CAPTURE(dim);
  const std::int64_t image = std::int64_t{tokens} * heads * dim;
  const auto count = [&](int images) { return static_cast<std::size_t>(images * image); };
  const DeviceBuffer q(random_floats(count(kImages), 1), DType::bf16), k(random_floats(count(kImages), 2), DType::bf16),
      v(random_floats(count(kImages), 3), DType::bf16);
  check_plan(chosen_for, [&](int first, int batch, const BatchPlan& plan) {
    const DeviceBuffer out(count(batch), DType::bf16);
    const AttentionArgs args = testing::dense_args({batch, heads, tokens, tokens, dim, dim}, q.at(count(first)),
                                                   k.at(count(first)), v.at(count(first)), out.data(), DType::bf16);
    cuda::attention(args, nullptr, cuda::AttentionPath::automatic, plan);
    return out.floats();
  });
}

TEST_CASE("a plan scales what grows with the batch") {
  CHECK(BatchPlan{}.scaled(577) == 577);
  CHECK(BatchPlan{3, 16}.scaled(3 * 577) == 16 * 577);
  CHECK(BatchPlan{64, 16}.scaled(64 * 577) == 16 * 577);
  CHECK(BatchPlan{1, 16}.scaled(1 << 30) == std::numeric_limits<int>::max());
}

TEST_CASE("linear: a plan's kernels give an image the same bits in every batch") {
  check_linear(40, 2048, 256, true, 128);  // clusters divide the sums of few rows
  check_linear(100, 256, 256, false, 64);  // sums of many begin with the bias
}

TEST_CASE("convolution: a plan's kernels give an image the same bits in every batch") {
  check_convolution({128, 64, 3, 3, 1, 1}, 5, 1024);  // clusters divide the sums of few pixels
  check_convolution({40, 32, 3, 3, 1, 1}, 8, 1024);   // the shallow kernel takes many
}

TEST_CASE("attention: a plan's kernels give an image the same bits in every batch") {
  for (const int dim : {32, 64}) check_attention(3, 65, dim, 64);  // pairs of warpgroups share few items
}

}  // namespace
}  // namespace vistazo
