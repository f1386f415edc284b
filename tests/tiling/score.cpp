#include "tests/tiling/score.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

namespace vistazo::apps {
namespace {

constexpr float kSameObject = 0.5f;  // IoU from which on a detection is of a truth

float iou(const CocoBox& a, const CocoBox& b) {
  const double width = std::min(a.x + a.width, b.x + b.width) - std::max(a.x, b.x);
  const double height = std::min(a.y + a.height, b.y + b.height) - std::max(a.y, b.y);
  if (width <= 0 || height <= 0) return 0;
  const double shared = width * height;
  return static_cast<float>(shared / (a.width * a.height + b.width * b.height - shared));
}

// Truths by the cell of their centre.
class TruthIndex {
 public:
  TruthIndex(const std::vector<CocoTruth>& truths, std::vector<bool> is_counting)
      : truths_(truths), is_counting_(std::move(is_counting)), is_found_(truths.size(), false) {
    for (std::size_t i = 0; i < truths.size(); ++i) cells_.emplace(cell_of(truths[i].box, 0, 0), i);
  }

  enum class Match { found, duplicate, left_out, none };

  // Takes the truth of that class that agrees best, of the free ones that count, else of the free ones that do not.
  // "duplicate" where only taken ones agree, and one of them counts.
  Match take(std::int64_t category, const CocoBox& box) {
    std::size_t best = truths_.size();
    std::pair<bool, float> most;
    Match without = Match::none;
    for (int dy = -1; dy <= 1; ++dy) {
      for (int dx = -1; dx <= 1; ++dx) {
        const auto [begin, end] = cells_.equal_range(cell_of(box, dx, dy));
        for (auto i = begin; i != end; ++i) {
          const std::size_t t = i->second;
          const float overlap = truths_[t].category_id == category ? iou(truths_[t].box, box) : 0.0f;
          if (overlap < kSameObject) continue;
          if (is_found_[t]) {
            if (without != Match::duplicate) without = is_counting_[t] ? Match::duplicate : Match::left_out;
          } else if (best == truths_.size() || std::pair<bool, float>(is_counting_[t], overlap) > most) {
            most = {is_counting_[t], overlap};
            best = t;
          }
        }
      }
    }
    if (best == truths_.size()) return without;
    is_found_[best] = true;
    return is_counting_[best] ? Match::found : Match::left_out;
  }

 private:
  static std::pair<int, int> cell_of(const CocoBox& box, int dx, int dy) {
    return {static_cast<int>((box.x + box.width / 2) / kMosaicCell) + dx,
            static_cast<int>((box.y + box.height / 2) / kMosaicCell) + dy};
  }

  const std::vector<CocoTruth>& truths_;
  std::vector<bool> is_counting_, is_found_;
  std::multimap<std::pair<int, int>, std::size_t> cells_;
};

// Of one stain: no channel's mean differs by more than two neighbouring fields of a slide do.
bool are_alike(const Colour& a, const Colour& b) {
  constexpr double kMost = 20;
  return std::abs(a[0] - b[0]) <= kMost && std::abs(a[1] - b[1]) <= kMost && std::abs(a[2] - b[2]) <= kMost;
}

int side_of(const Json& truth) {
  return truth.at("cells").get<int>() * kMosaicCell;
}

}  // namespace

MosaicPlaces::MosaicPlaces(const Json& truth, int window, float overlap)
    : colours_(truth.at("colours").get<std::vector<Colour>>()),
      blocks_(truth.at("blocks")),
      side_(truth.at("block").get<double>() * kMosaicCell),
      grid_(side_of(truth), side_of(truth), window, overlap) {}

bool MosaicPlaces::is_at_border(const CocoBox& box) const {
  constexpr double kMargin = 32;  // pixels
  const auto touches = [](double begin, double length) {
    const double cell = std::floor((begin + length / 2) / kMosaicCell) * kMosaicCell;
    return begin < cell + kMargin || begin + length > cell + kMosaicCell - kMargin;
  };
  return touches(box.x, box.width) || touches(box.y, box.height);
}

bool MosaicPlaces::shows_two_stains(const CocoBox& box) const {
  const double window = grid_.side();
  const double x = box.x + box.width / 2, y = box.y + box.height / 2;
  const Colour& own = colour_at(x, y);
  for (const double dx : {-window, 0.0, window}) {
    for (const double dy : {-window, 0.0, window}) {
      if (!are_alike(own, colour_at(x + dx, y + dy))) return true;
    }
  }
  return false;
}

bool MosaicPlaces::is_in_several_windows(const CocoBox& box) const {
  const Box whole{static_cast<float>(box.x), static_cast<float>(box.y), static_cast<float>(box.x + box.width),
                  static_cast<float>(box.y + box.height)};
  return grid_.tiles_touching(whole).size() > 1;
}

const Colour& MosaicPlaces::colour_at(double x, double y) const {
  const auto index = [&](double v) {
    return static_cast<std::size_t>(std::clamp(static_cast<int>(v / side_), 0, blocks_ - 1));
  };
  return colours_[index(y) * static_cast<std::size_t>(blocks_) + index(x)];
}

Score score_detections(const std::vector<CocoTruth>& truths, std::vector<CocoDetection> detections,
                       const std::function<bool(const CocoBox&)>& counts, std::int64_t first_category) {
  std::ranges::stable_sort(detections, std::greater<>{}, &CocoDetection::score);
  std::vector<bool> is_counting;
  for (const CocoTruth& t : truths) is_counting.push_back(counts(t.box));
  Score score;
  score.truths = static_cast<std::size_t>(std::ranges::count(is_counting, true));
  TruthIndex index(truths, is_counting);
  using Match = TruthIndex::Match;
  for (const CocoDetection& d : detections) {
    const Match match = index.take(d.category_id + first_category, d.box);
    if (match == Match::left_out || (match != Match::found && !counts(d.box))) continue;
    ++score.detections;
    score.found += match == Match::found;
    score.duplicates += match == Match::duplicate;
  }
  return score;
}

}  // namespace vistazo::apps
