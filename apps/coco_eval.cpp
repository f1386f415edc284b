#include "apps/coco_eval.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>
#include <unordered_map>

namespace vistazo::apps {
namespace {

constexpr std::size_t kThresholds = 10;  // IoU 0.50, 0.55, .. 0.95
constexpr std::size_t kRecalls = 101;    // 0.00, 0.01, .. 1.00

// Truth areas in square pixels, both ends included.
struct AreaRange {
  double low, high;
};
enum Area : std::size_t { all_areas, small_areas, medium_areas, large_areas };
constexpr double kSmall = 32.0 * 32.0, kLarge = 96.0 * 96.0, kHuge = 1e10;
constexpr std::array<AreaRange, 4> kAreas = {{{0, kHuge}, {0, kSmall}, {kSmall, kLarge}, {kLarge, kHuge}}};

// The thresholds as numpy.linspace computes them, so that a value on a boundary falls on the same side.
double iou_threshold(std::size_t index) {
  return index + 1 == kThresholds ? 0.95 : 0.5 + static_cast<double>(index) * ((0.95 - 0.5) / 9.0);
}
double recall_threshold(std::size_t index) {
  return static_cast<double>(index) * (1.0 / 100.0);
}

// The truths and detections of one category in one image; the detections best first, the best max_detections only.
struct Cell {
  std::vector<const CocoTruth*> truths;
  std::vector<const CocoDetection*> detections;
  std::vector<double> ious;         // (detections, truths)
  std::vector<double> highest_iou;  // (detections): most detections overlap no truth well and are judged by this alone

  double iou(std::size_t detection, std::size_t truth) const { return ious[detection * truths.size() + truth]; }
};

enum class Verdict : std::uint8_t { wrong, right, ignored };

// One detection of one category, over all images.
struct Judged {
  double score;
  std::array<Verdict, kThresholds> verdicts;
};

struct CategoryCurve {
  std::array<double, kThresholds> precision_mean, recall;  // -1 where the category has no truth in the area
};

// Towards a crowd region, which covers many objects, the union is the detection alone.
double intersection_over_union(const CocoBox& detection, const CocoTruth& truth) {
  const CocoBox& other = truth.box;
  const double width = std::min(detection.x + detection.width, other.x + other.width) - std::max(detection.x, other.x);
  const double height =
      std::min(detection.y + detection.height, other.y + other.height) - std::max(detection.y, other.y);
  if (width <= 0 || height <= 0) return 0.0;
  const double area = detection.width * detection.height, intersection = width * height;
  return intersection / (truth.is_crowd ? area : area + other.width * other.height - intersection);
}

bool is_outside(double area, const AreaRange& range) {
  return area < range.low || area > range.high;
}

void prepare(Cell& cell, int max_detections) {
  std::ranges::stable_sort(cell.detections, std::greater<>{}, &CocoDetection::score);
  cell.detections.resize(std::min(cell.detections.size(), static_cast<std::size_t>(max_detections)));
  cell.ious.reserve(cell.detections.size() * cell.truths.size());
  for (const CocoDetection* detection : cell.detections) {
    double highest = 0;
    for (const CocoTruth* truth : cell.truths) {
      cell.ious.push_back(intersection_over_union(detection->box, *truth));
      highest = std::max(highest, cell.ious.back());
    }
    cell.highest_iou.push_back(highest);
  }
}

// The truth that a detection takes at a threshold: the best free one that counts, else the best that is ignored; among
// equals the later one. `order` lists the truths that count first. Returns the number of truths for none.
std::size_t best_truth(const Cell& cell, std::size_t detection, double threshold, const std::vector<std::size_t>& order,
                       std::size_t counted, const std::vector<bool>& is_taken) {
  double best_iou = std::min(threshold, 1.0 - 1e-10);
  std::size_t best = order.size();  // a position in `order`
  if (cell.highest_iou[detection] < best_iou) return best;
  for (std::size_t position = 0; position < order.size(); ++position) {
    const std::size_t truth = order[position];
    if (position >= counted && best < counted) break;
    if (is_taken[truth] && !cell.truths[truth]->is_crowd) continue;
    if (cell.iou(detection, truth) < best_iou) continue;
    best_iou = cell.iou(detection, truth);
    best = position;
  }
  return best < order.size() ? order[best] : order.size();
}

// Appends the verdicts on a cell's detections; returns the number of truths that count.
int judge(const Cell& cell, const AreaRange& range, std::vector<Judged>& judged) {
  std::vector<bool> is_ignored(cell.truths.size());
  std::vector<std::size_t> order(cell.truths.size());
  for (std::size_t i = 0; i < order.size(); ++i) {
    is_ignored[i] = cell.truths[i]->is_crowd || is_outside(cell.truths[i]->area, range);
  }
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto first_ignored = std::stable_partition(order.begin(), order.end(), [&](auto i) { return !is_ignored[i]; });
  const auto counted = static_cast<std::size_t>(first_ignored - order.begin());

  const std::size_t first = judged.size();
  for (const CocoDetection* detection : cell.detections) judged.push_back({detection->score, {}});
  for (std::size_t t = 0; t < kThresholds; ++t) {
    std::vector<bool> is_taken(cell.truths.size());
    for (std::size_t d = 0; d < cell.detections.size(); ++d) {
      const std::size_t truth = best_truth(cell, d, iou_threshold(t), order, counted, is_taken);
      const CocoBox& box = cell.detections[d]->box;
      Verdict& verdict = judged[first + d].verdicts[t];
      if (truth == cell.truths.size()) {
        verdict = is_outside(box.width * box.height, range) ? Verdict::ignored : Verdict::wrong;
      } else {
        is_taken[truth] = true;
        verdict = is_ignored[truth] ? Verdict::ignored : Verdict::right;
      }
    }
  }
  return static_cast<int>(counted);
}

// Precision, made monotonous, averaged over the recall thresholds, and the recall that is reached.
void add_curve(const std::vector<const Judged*>& ranking, std::size_t threshold, int truths, CategoryCurve& curve) {
  std::vector<double> precision, recall;
  double right = 0, wrong = 0;
  for (const Judged* detection : ranking) {
    right += detection->verdicts[threshold] == Verdict::right;
    wrong += detection->verdicts[threshold] == Verdict::wrong;
    recall.push_back(right / truths);
    precision.push_back(right / (right + wrong + std::numeric_limits<double>::epsilon()));
  }
  for (std::size_t i = precision.size(); i-- > 1;) precision[i - 1] = std::max(precision[i - 1], precision[i]);
  double sum = 0;
  for (std::size_t r = 0; r < kRecalls; ++r) {
    const auto reached = std::ranges::lower_bound(recall, recall_threshold(r)) - recall.begin();
    if (static_cast<std::size_t>(reached) < precision.size()) sum += precision[static_cast<std::size_t>(reached)];
  }
  curve.precision_mean[threshold] = sum / kRecalls;
  curve.recall[threshold] = recall.empty() ? 0.0 : recall.back();
}

CategoryCurve category_curve(const std::vector<Cell>& cells, const AreaRange& range) {
  std::vector<Judged> judged;
  int truths = 0;
  for (const Cell& cell : cells) truths += judge(cell, range, judged);
  CategoryCurve curve;
  curve.precision_mean.fill(-1);
  curve.recall.fill(-1);
  if (truths == 0) return curve;
  std::vector<const Judged*> ranking;
  for (const Judged& detection : judged) ranking.push_back(&detection);
  std::ranges::stable_sort(ranking, std::greater<>{}, &Judged::score);
  for (std::size_t t = 0; t < kThresholds; ++t) add_curve(ranking, t, truths, curve);
  return curve;
}

// The mean of the values that are there, -1 for none.
class Mean {
 public:
  void add(double value) {
    if (value < 0) return;
    sum_ += value;
    ++count_;
  }
  void add_all(std::span<const double> values) {
    for (double value : values) add(value);
  }
  double value() const { return count_ == 0 ? -1.0 : sum_ / count_; }

 private:
  double sum_ = 0;
  int count_ = 0;
};

double mean_of(std::span<const double> values) {
  Mean mean;
  mean.add_all(values);
  return mean.value();
}

// The cells of every category, images in ascending order of their ids: that order decides between equal scores.
std::vector<std::vector<Cell>> sort_into_cells(std::span<const CocoTruth> truths,
                                               std::span<const CocoDetection> detections,
                                               std::span<const std::int64_t> image_ids,
                                               std::span<const std::int64_t> category_ids) {
  std::unordered_map<std::int64_t, std::size_t> image_index, category_index;
  for (std::int64_t id : std::set<std::int64_t>(image_ids.begin(), image_ids.end())) {
    image_index.emplace(id, image_index.size());
  }
  for (std::size_t i = 0; i < category_ids.size(); ++i) category_index.emplace(category_ids[i], i);
  std::vector<std::vector<Cell>> cells(category_ids.size(), std::vector<Cell>(image_index.size()));
  const auto cell_of = [&](const auto& object) -> Cell* {
    const auto image = image_index.find(object.image_id);
    const auto category = category_index.find(object.category_id);
    const bool is_listed = image != image_index.end() && category != category_index.end();
    return is_listed ? &cells[category->second][image->second] : nullptr;
  };
  for (const CocoTruth& truth : truths) {
    if (Cell* cell = cell_of(truth)) cell->truths.push_back(&truth);
  }
  for (const CocoDetection& detection : detections) {
    if (Cell* cell = cell_of(detection)) cell->detections.push_back(&detection);
  }
  return cells;
}

}  // namespace

CocoMetrics evaluate_coco(std::span<const CocoTruth> truths, std::span<const CocoDetection> detections,
                          std::span<const std::int64_t> image_ids, std::span<const std::int64_t> category_ids,
                          int max_detections) {
  constexpr std::size_t k50 = 0, k75 = 5;
  std::vector<std::vector<Cell>> cells = sort_into_cells(truths, detections, image_ids, category_ids);
  std::array<Mean, kAreas.size()> ap, ar;
  Mean ap50, ap75;
  CocoMetrics metrics;
  for (std::size_t c = 0; c < category_ids.size(); ++c) {
    CategoryMetrics& category = metrics.categories.emplace_back();
    category.category_id = category_ids[c];
    for (Cell& cell : cells[c]) {
      prepare(cell, max_detections);
      category.truths += static_cast<int>(std::ranges::count(cell.truths, false, &CocoTruth::is_crowd));
    }
    for (std::size_t a = 0; a < kAreas.size(); ++a) {
      const CategoryCurve curve = category_curve(cells[c], kAreas[a]);
      ap[a].add_all(curve.precision_mean);
      ar[a].add_all(curve.recall);
      if (a != all_areas) continue;
      ap50.add(curve.precision_mean[k50]);
      ap75.add(curve.precision_mean[k75]);
      category.ap = mean_of(curve.precision_mean);
      category.ap50 = curve.precision_mean[k50];
      category.ar = mean_of(curve.recall);
    }
  }
  metrics.ap = ap[all_areas].value(), metrics.ap50 = ap50.value(), metrics.ap75 = ap75.value();
  metrics.ap_small = ap[small_areas].value(), metrics.ap_medium = ap[medium_areas].value();
  metrics.ap_large = ap[large_areas].value();
  metrics.ar = ar[all_areas].value(), metrics.ar_small = ar[small_areas].value();
  metrics.ar_medium = ar[medium_areas].value(), metrics.ar_large = ar[large_areas].value();
  return metrics;
}

}  // namespace vistazo::apps
