#include "tests/tiling/layout.h"

#include <algorithm>
#include <numeric>
#include <random>

namespace vistazo::apps {
namespace {

// One image for each block: all of them as often as the others, give or take one.
std::vector<int> chosen(int images, int blocks, std::mt19937& random) {
  std::vector<int> order(static_cast<std::size_t>(images)), result;
  std::iota(order.begin(), order.end(), 0);
  std::ranges::shuffle(order, random);
  for (int i = 0; i < blocks * blocks; ++i) result.push_back(order[static_cast<std::size_t>(i % images)]);
  return result;
}

struct Region {
  int left, top, width, height;  // blocks
};

struct Cut {
  int at = 0;  // blocks from the left, or from the top
  std::size_t channel = 0;
  double gain = -1;  // how much variance lies between the two parts
};

void sort_by(const std::vector<Colour>& images, std::size_t channel, std::vector<int>& members) {
  std::ranges::sort(members, {}, [&](int i) { return std::pair(images[static_cast<std::size_t>(i)][channel], i); });
}

Cut best_cut(const std::vector<Colour>& images, std::vector<int> members, int length, int across) {
  Cut best;
  const auto count = static_cast<double>(members.size());
  for (std::size_t channel = 0; channel < 3; ++channel) {
    sort_by(images, channel, members);
    const auto value = [&](int i) { return images[static_cast<std::size_t>(i)][channel]; };
    double all = 0, before = 0;
    for (const int i : members) all += value(i);
    for (int at = 1; at < length; ++at) {
      const auto end = static_cast<std::size_t>(at * across);
      for (std::size_t i = end - static_cast<std::size_t>(across); i < end; ++i) before += value(members[i]);
      const double first = static_cast<double>(end), second = count - first;
      const double difference = before / first - (all - before) / second;
      const double gain = first * second * difference * difference;
      if (gain > best.gain) best = {at, channel, gain};
    }
  }
  return best;
}

// members: as many as the region has blocks.
void place(const std::vector<Colour>& images, std::vector<int> members, const Region& region, int blocks,
           std::vector<int>& layout) {
  if (members.size() == 1) {
    layout[static_cast<std::size_t>(region.top * blocks + region.left)] = members.front();
    return;
  }
  const bool is_wide = region.width >= region.height;
  const int across = is_wide ? region.height : region.width;
  const Cut cut = best_cut(images, members, is_wide ? region.width : region.height, across);
  sort_by(images, cut.channel, members);
  const auto middle = members.begin() + cut.at * across;
  Region first = region, second = region;
  if (is_wide) {
    first.width = cut.at;
    second.left += cut.at;
    second.width -= cut.at;
  } else {
    first.height = cut.at;
    second.top += cut.at;
    second.height -= cut.at;
  }
  place(images, {members.begin(), middle}, first, blocks, layout);
  place(images, {middle, members.end()}, second, blocks, layout);
}

}  // namespace

std::vector<int> layout_by_colour(const std::vector<Colour>& images, int blocks, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<int> layout(static_cast<std::size_t>(blocks * blocks));
  place(images, chosen(static_cast<int>(images.size()), blocks, random), {0, 0, blocks, blocks}, blocks, layout);
  return layout;
}

std::vector<int> layout_mixed(int images, int blocks, unsigned seed) {
  std::mt19937 random(seed);
  return chosen(images, blocks, random);
}

}  // namespace vistazo::apps
