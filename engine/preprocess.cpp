#include "engine/preprocess.h"

#include <algorithm>
#include <cmath>

#include "kernels/base/error.h"
#include "weights/config_reader.h"

namespace vistazo {
namespace {

constexpr int kMaxSide = 1 << 15;

GridSize read_sides(const ConfigReader& size, const char* height, const char* width) {
  return {size.integer(height, 1, kMaxSide), size.integer(width, 1, kMaxSide)};
}

void read_size(const ConfigReader& config, Preprocessing& p) {
  if (!config.boolean("do_resize", true)) config.refuse("do_resize", "true: a model's input has one size");
  if (!config.has("size")) return;
  if (!config.is_object("size")) {
    const int side = config.integer("size", 1, kMaxSide);
    p.input = {side, side};
    return;
  }
  const ConfigReader size = config.child("size");
  if (size.has("shortest_edge")) {
    p.fit = Preprocessing::Fit::shortest_edge;
    p.shortest_edge = size.integer("shortest_edge", 1, kMaxSide);
    p.longest_edge = size.integer("longest_edge", p.shortest_edge, kMaxSide, kMaxSide);
  } else if (size.has("max_height")) {
    p.fit = Preprocessing::Fit::letterbox;
    p.input = read_sides(size, "max_height", "max_width");
    if (config.has("pad_size")) p.input = read_sides(config.child("pad_size"), "height", "width");
  } else {
    p.input = read_sides(size, "height", "width");
  }
}

void read_channels(const ConfigReader& config, const char* key, float (&values)[3]) {
  if (!config.has(key)) return;
  const std::vector<double> read = config.numbers(key, -1e6, 1e6);
  if (read.size() != 3) config.refuse(key, "three numbers, for R, G and B");
  std::ranges::transform(read, values, [](double v) { return static_cast<float>(v); });
}

}  // namespace

Preprocessing default_preprocessing(const ModelTraits& traits) {
  Preprocessing p;
  p.input = traits.input;
  p.rounding = traits.rounds_resized;
  std::ranges::copy(traits.mean, p.mean);
  std::ranges::copy(traits.std, p.std);
  return p;
}

Preprocessing read_preprocessing(const ConfigReader& config, const ModelTraits& traits) {
  constexpr int kBilinear = 2;  // of Pillow's filters
  Preprocessing p = default_preprocessing(traits);
  read_size(config, p);
  if (config.integer("resample", 0, 5, kBilinear) != kBilinear) config.refuse("resample", "2 (bilinear)");
  // Ours, beside Hugging Face's keys.
  p.antialias = config.boolean("antialias", true);
  p.rounding = config.boolean("rounding", p.rounding);
  if (config.has("letterbox")) {
    p.fit = Preprocessing::Fit::letterbox;
    const bool is_centered = config.one_of("letterbox", {"top_left", "center"}) == "center";
    p.anchor = is_centered ? Preprocessing::Anchor::center : Preprocessing::Anchor::top_left;
  }
  p.rescale = config.boolean("do_rescale", true)
                  ? static_cast<float>(config.number("rescale_factor", 1e-9, 1e6, 1.0 / 255.0))
                  : 1.0f;
  if (config.boolean("do_normalize", true)) {
    read_channels(config, "image_mean", p.mean);
    read_channels(config, "image_std", p.std);
    if (std::ranges::any_of(p.std, [](float s) { return s <= 0.0f; })) config.refuse("image_std", "positive numbers");
  } else {
    std::ranges::fill(p.mean, 0.0f);
    std::ranges::fill(p.std, 1.0f);
  }
  return p;
}

Placement place(const Preprocessing& p, GridSize image, int size_multiple) {
  const auto scaled = [&](double scale) {
    const auto side = [&](int s) { return std::max(1, static_cast<int>(std::lround(s * scale))); };
    return GridSize{side(image.height), side(image.width)};
  };
  const auto round_up = [&](int side) { return (side + size_multiple - 1) / size_multiple * size_multiple; };
  Placement placement;
  switch (p.fit) {
    case Preprocessing::Fit::stretch:
      placement.canvas = placement.image = p.input;
      break;
    case Preprocessing::Fit::letterbox: {
      placement.canvas = p.input;
      const GridSize fitted = scaled(std::min(static_cast<double>(p.input.height) / image.height,
                                              static_cast<double>(p.input.width) / image.width));
      placement.image = {std::min(fitted.height, p.input.height), std::min(fitted.width, p.input.width)};
      if (p.anchor == Preprocessing::Anchor::center) {
        placement.top = (placement.canvas.height - placement.image.height) / 2;
        placement.left = (placement.canvas.width - placement.image.width) / 2;
      }
      break;
    }
    case Preprocessing::Fit::shortest_edge: {
      const double shorter = std::min(image.height, image.width), longer = std::max(image.height, image.width);
      placement.image = scaled(std::min(p.shortest_edge / shorter, p.longest_edge / longer));
      placement.canvas = {round_up(placement.image.height), round_up(placement.image.width)};
      break;
    }
    case Preprocessing::Fit::native:
      placement.image = image;
      placement.canvas = {std::max(round_up(image.height), p.input.height),
                          std::max(round_up(image.width), p.input.width)};
      break;
  }
  return placement;
}

void require_valid(const Image& image, const char* function, std::size_t index, bool is_on_gpu) {
  const std::ptrdiff_t channels = image.format == PixelFormat::gray8 ? 1 : 3;
  if (image.width < 1 || image.height < 1) {
    fail(Error::Code::argument, "{}: image {}: its size is {} x {}; at least 1 x 1 is wanted", function, index,
         image.width, image.height);
  }
  if (!image.pixels) fail(Error::Code::argument, "{}: image {}: pixels is null", function, index);
  if (image.is_on_device && !is_on_gpu) {
    fail(Error::Code::argument,
         "{}: image {}: its pixels lie in a GPU's memory (is_on_device), and this runs on the CPU", function, index);
  }
  if (std::abs(image.row_bytes) < channels * image.width) {
    fail(Error::Code::argument, "{}: image {}: row_bytes {} is less than {} * width {}", function, index,
         image.row_bytes, channels, image.width);
  }
}

void preprocess(Ops& ops, const Preprocessing& p, const Placement& placement, const Image& image, const Tensor& pixels,
                int index) {
  const auto canvas = static_cast<std::ptrdiff_t>(placement.canvas.height) * placement.canvas.width;
  ImageResizeArgs args{};
  args.pixels = image.pixels;
  args.height = image.height;
  args.width = image.width;
  args.row_bytes = image.row_bytes;
  args.order = image.format == PixelFormat::rgb8   ? PixelOrder::rgb
               : image.format == PixelFormat::bgr8 ? PixelOrder::bgr
                                                   : PixelOrder::gray;
  args.y = static_cast<float*>(pixels.data) + 3 * canvas * index;
  args.canvas_height = placement.canvas.height;
  args.canvas_width = placement.canvas.width;
  args.top = placement.top;
  args.left = placement.left;
  args.out_height = placement.image.height;
  args.out_width = placement.image.width;
  args.rescale = p.rescale;
  for (int c = 0; c < 3; ++c) {
    args.mean[c] = p.mean[c];
    args.std[c] = p.std[c];
    args.pad_value[c] = 0.0f;  // Hugging Face pads behind the normalisation
  }
  args.antialias = p.antialias;
  args.rounding = p.rounding;
  ops.place_image(args, image.is_on_device);
}

}  // namespace vistazo
