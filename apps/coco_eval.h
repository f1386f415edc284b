#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace vistazo::apps {

// A box of the COCO format, in pixels.
struct CocoBox {
  double x = 0, y = 0, width = 0, height = 0;
};

struct CocoTruth {
  std::int64_t image_id = 0, category_id = 0;
  CocoBox box;
  double area = 0;        // as annotated, of the mask if there is one: it decides on small, medium and large
  bool is_crowd = false;  // a region of many objects: detections in it count neither as right nor as wrong
};

struct CocoDetection {
  std::int64_t image_id = 0, category_id = 0;
  CocoBox box;
  double score = 0;
};

struct CategoryMetrics {
  std::int64_t category_id = 0;
  double ap = -1, ap50 = -1, ar = -1;
  int truths = 0;  // without crowds
};

// Average precision over IoU 0.50 to 0.95 unless the name says otherwise, average recall; -1 where there is nothing to
// find. The areas are those of COCO: small below 32^2 pixels, large above 96^2.
struct CocoMetrics {
  double ap = -1, ap50 = -1, ap75 = -1;
  double ap_small = -1, ap_medium = -1, ap_large = -1;
  double ar = -1, ar_small = -1, ar_medium = -1, ar_large = -1;
  std::vector<CategoryMetrics> categories;  // in the order asked for
};

// The detection metric of COCO (Lin et al. 2014, arXiv:1405.0312), equal to pycocotools: greedy matching by score,
// equal scores in the order given, precision interpolated at 101 recalls. max_detections are the best of one category
// in one image. Truths and detections of other images or categories than the listed ones are left out.
CocoMetrics evaluate_coco(std::span<const CocoTruth> truths, std::span<const CocoDetection> detections,
                          std::span<const std::int64_t> image_ids, std::span<const std::int64_t> category_ids,
                          int max_detections = 100);

}  // namespace vistazo::apps
