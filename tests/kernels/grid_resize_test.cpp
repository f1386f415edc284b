#include "kernels/grid_resize.h"

#include <doctest/doctest.h>
#include <vistazo/error.h>

#include "tests/reference/grid_resize.h"
#include "tests/support/buffers.h"
#include "tests/support/stored_tensors.h"

namespace vistazo {
namespace {

using testing::GuardedBuffer;

struct Sizes {
  int height, width, out_height, out_width, channels;
};

std::vector<float> resize(const std::vector<float>& x, const Sizes& s, Interpolation interpolation, bool antialias) {
  GuardedBuffer y(std::size_t(s.out_height) * s.out_width * s.channels, DType::f32);
  cpu::grid_resize(
      {x.data(), y.as<float>(), s.height, s.width, s.out_height, s.out_width, s.channels, interpolation, antialias});
  CHECK(y.is_guard_intact());
  return y.floats();
}

TEST_CASE("grid_resize") {
  for (const Sizes& s : {Sizes{1, 1, 1, 1, 1}, Sizes{1, 1, 5, 3, 3}, Sizes{7, 9, 1, 1, 17}, Sizes{3, 17, 17, 3, 5},
                         Sizes{37, 37, 40, 40, 63}, Sizes{14, 14, 65, 63, 3}, Sizes{65, 33, 17, 31, 3},
                         Sizes{12, 12, 12, 12, 7}, Sizes{197, 2, 3, 2, 2}}) {
    for (const auto interpolation : {Interpolation::bilinear, Interpolation::bicubic}) {
      for (const bool antialias : {false, true}) {
        CAPTURE(s.height);
        CAPTURE(s.out_height);
        CAPTURE(antialias);
        const auto x = testing::random_floats(std::size_t(s.height) * s.width * s.channels, 1);
        const auto expected = reference::grid_resize(x, s.height, s.width, s.out_height, s.out_width, s.channels,
                                                     interpolation, antialias);
        // A tap's position of up to `size` rounds twice by size * 6e-8; weights change by at most twice that, and the
        // values are about 3. Errors of the sums are smaller.
        const double position = 2 * 6e-8 * std::max({s.height, s.width});
        CHECK(testing::max_difference(resize(x, s, interpolation, antialias), expected) <= 6 * position + 2e-6);
      }
    }
  }
}

TEST_CASE("grid_resize to the same size changes nothing without antialias") {
  const auto x = testing::random_floats(16 * 17 * 5, 1);
  for (const auto interpolation : {Interpolation::bilinear, Interpolation::bicubic}) {
    CHECK(resize(x, {16, 17, 16, 17, 5}, interpolation, false) == x);
  }
}

TEST_CASE("grid_resize agrees with PyTorch") {
  const testing::StoredTensors stored("posembed/posembed.safetensors");
  for (int i = 0; i < 5; ++i) {
    const std::string name = "case" + std::to_string(i) + "_";
    for (const auto interpolation : {Interpolation::bilinear, Interpolation::bicubic}) {
      for (const bool antialias : {false, true}) {
        const std::string kind = interpolation == Interpolation::bilinear ? "bilinear" : "bicubic";
        const std::string output = name + kind + (antialias ? "_aa" : "");
        CAPTURE(output);
        const Sizes s = {stored.size(name + "in", 0), stored.size(name + "in", 1), stored.size(output, 0),
                         stored.size(output, 1), stored.size(output, 2)};
        const auto y = resize(stored.read<float>(name + "in"), s, interpolation, antialias);
        CHECK(testing::max_difference(y, stored.read<float>(output)) <= 1e-6);
      }
    }
  }
}

TEST_CASE("grid_resize: wrong arguments are named") {
  float value = 0.0f;
  CHECK_THROWS_AS(cpu::grid_resize({&value, &value, 1, 1, 0, 1, 1, Interpolation::bicubic, false}), Error);
}

}  // namespace
}  // namespace vistazo
