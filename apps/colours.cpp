#include "apps/colours.h"

#include <cmath>

namespace vistazo::apps {
namespace {

constexpr std::array<Colour, 7> kPalette = {{
    {230, 159, 0},    // orange
    {86, 180, 233},   // sky blue
    {0, 158, 115},    // bluish green
    {240, 228, 66},   // yellow
    {213, 94, 0},     // vermilion
    {0, 114, 178},    // blue
    {204, 121, 167},  // reddish purple
}};

double linear(std::uint8_t value) {
  const double v = value / 255.0;
  return v <= 0.04045 ? v / 12.92 : std::pow((v + 0.055) / 1.055, 2.4);
}

double luminance(const Colour& colour) {
  return 0.2126 * linear(colour[0]) + 0.7152 * linear(colour[1]) + 0.0722 * linear(colour[2]);
}

std::uint8_t mixed(std::uint8_t value, int with, double share) {
  return static_cast<std::uint8_t>(std::lround(value + share * (with - value)));
}

}  // namespace

Colour class_colour(int class_id) {
  const auto id = static_cast<unsigned>(class_id < 0 ? 0 : class_id);
  Colour colour = kPalette[id % kPalette.size()];
  const unsigned round = id / kPalette.size() % 3;
  if (round == 0) return colour;
  for (std::uint8_t& channel : colour) channel = round == 1 ? mixed(channel, 255, 0.45) : mixed(channel, 0, 0.4);
  return colour;
}

bool needs_black_text(const Colour& background) {
  const double own = luminance(background);
  return (own + 0.05) / 0.05 > 1.05 / (own + 0.05);
}

}  // namespace vistazo::apps
