#include "apps/annotate.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <opencv2/imgproc.hpp>
#include <optional>
#include <vector>

#include "apps/colours.h"
#include "apps/label_layout.h"
#include "apps/outputs/object_writer.h"

namespace vistazo::apps {
namespace {

constexpr int kFont = cv::FONT_HERSHEY_DUPLEX;

// Sizes that grow with the picture, so that a photo looks the same when it is scaled down to a screen.
struct Style {
  int line;           // thickness of boxes
  double font_scale;  // of OpenCV's font: capitals are about 21 pixels high at 1
  int font_line;
  int padding;  // between text and the edge of its background
};

Style style_for(int width, int height) {
  const double size = std::sqrt(static_cast<double>(width) * height);
  const double font_scale = std::clamp(size / 1600.0, 0.36, 4.0);
  return {std::clamp(static_cast<int>(std::lround(size / 350.0)), 1, 10), font_scale,
          std::max(1, static_cast<int>(std::lround(1.6 * font_scale))),
          std::max(2, static_cast<int>(std::lround(6.0 * font_scale)))};
}

// One detection as it is drawn.
struct Mark {
  Rect box;
  int class_id;
  std::string text;
};

cv::Scalar scalar(const Colour& colour) {
  return {double(colour[2]), double(colour[1]), double(colour[0])};
}

cv::Rect cv_rect(const Rect& rect) {
  return {rect.left, rect.top, rect.width(), rect.height()};
}

Size text_size(const std::string& text, const Style& style) {
  int baseline = 0;
  const cv::Size size = cv::getTextSize(text, kFont, style.font_scale, style.font_line, &baseline);
  return {size.width + 2 * style.padding, size.height + baseline / 2 + 2 * style.padding};
}

void draw_text(cv::Mat& image, const Rect& place, const std::string& text, const Colour& background,
               const Style& style) {
  int baseline = 0;
  cv::getTextSize(text, kFont, style.font_scale, style.font_line, &baseline);
  const cv::Point origin(place.left + style.padding, place.bottom - style.padding - baseline / 2);
  const cv::Scalar colour = needs_black_text(background) ? cv::Scalar::all(0) : cv::Scalar::all(255);
  cv::putText(image, text, origin, kFont, style.font_scale, colour, style.font_line, cv::LINE_AA);
}

// A frame that lies inside its box, with a dark rim where there is room: it shows on any background.
void draw_box(cv::Mat& image, const Mark& mark, const Style& style) {
  const int side = std::min(mark.box.width(), mark.box.height());
  const int line = std::clamp(side / 8, 1, style.line);
  const cv::Rect outer = cv_rect(mark.box);
  const cv::Scalar colour = scalar(class_colour(mark.class_id));
  for (int i = 0; i < line && 2 * i < side; ++i) {
    cv::rectangle(image, cv::Rect(outer.x + i, outer.y + i, outer.width - 2 * i, outer.height - 2 * i), colour, 1);
  }
  if (side < 12 * style.line) return;
  const cv::Rect rim(outer.x + line, outer.y + line, outer.width - 2 * line, outer.height - 2 * line);
  cv::rectangle(image, rim, colour * 0.3, std::max(1, line / 4));
}

void draw_label(cv::Mat& image, const Rect& place, const Mark& mark, const Style& style) {
  const Colour background = class_colour(mark.class_id);
  cv::rectangle(image, cv_rect(place), scalar(background), cv::FILLED);
  draw_text(image, place, mark.text, background, style);
}

struct LegendLine {
  int class_id, count;
  std::string text;
};

std::vector<LegendLine> legend_lines(const std::vector<Mark>& marks, std::span<const std::string> names) {
  constexpr std::size_t kLines = 10;
  std::map<int, int> counts;
  for (const Mark& mark : marks) ++counts[mark.class_id];
  std::vector<LegendLine> lines;
  for (const auto& [id, count] : counts)
    lines.push_back({id, count, fmt::format("{} {}", count, class_name(id, names))});
  std::ranges::stable_sort(lines, std::greater<>{}, &LegendLine::count);
  lines.resize(std::min(lines.size(), kLines));
  return lines;
}

// A dark panel with a line per class, in the corner where it hides least; none in a picture too small for it.
void draw_legend(cv::Mat& image, const std::vector<Mark>& marks, const std::vector<Rect>& boxes,
                 std::span<const std::string> names, const Style& style) {
  constexpr Colour kPanel = {24, 24, 24};
  constexpr double kOpacity = 0.78;
  const std::vector<LegendLine> lines = legend_lines(marks, names);
  const int line_height = text_size("Ag", style).height, swatch = line_height / 2;
  int width = 0;
  for (const LegendLine& line : lines) width = std::max(width, text_size(line.text, style).width);
  const Size size = {width + swatch + 2 * style.padding, static_cast<int>(lines.size()) * line_height + style.padding};
  if (size.width > image.cols * 2 / 3 || size.height > image.rows / 2) return;
  const Rect panel = emptiest_corner(boxes, size, {image.cols, image.rows}, style.padding);
  cv::Mat area = image(cv_rect(panel));
  cv::addWeighted(area, 1.0 - kOpacity, cv::Mat(area.size(), area.type(), scalar(kPanel)), kOpacity, 0.0, area);
  int top = panel.top + style.padding / 2;
  for (const LegendLine& line : lines) {
    const cv::Rect square(panel.left + style.padding, top + (line_height - swatch) / 2, swatch, swatch);
    cv::rectangle(image, square, scalar(class_colour(line.class_id)), cv::FILLED);
    draw_text(image, {square.x + swatch, top, panel.right, top + line_height}, line.text, kPanel, style);
    top += line_height;
  }
}

// Best score first, as the detections come.
std::vector<Mark> marks_of(const Detections& detections, std::span<const std::string> names,
                           std::span<const std::int64_t> track_ids, Size picture) {
  std::vector<Mark> marks;
  for (std::size_t i = 0; i < detections.size(); ++i) {
    const Detection& detection = detections[i];
    const auto pixel = [](float value, int limit) {
      return std::clamp(static_cast<int>(std::lround(value)), 0, limit);
    };
    Rect box = {pixel(detection.box.x0, picture.width - 1), pixel(detection.box.y0, picture.height - 1),
                pixel(detection.box.x1, picture.width), pixel(detection.box.y1, picture.height)};
    box.right = std::max(box.right, box.left + 1);
    box.bottom = std::max(box.bottom, box.top + 1);
    const bool has_track = i < track_ids.size() && track_ids[i] > 0;
    const std::string track = has_track ? fmt::format(" #{}", track_ids[i]) : "";
    marks.push_back({box, detection.class_id,
                     fmt::format("{}{} {:.2f}", class_name(detection.class_id, names), track, detection.score)});
  }
  return marks;
}

void draw_marks(cv::Mat& image, const std::vector<Mark>& marks, std::span<const std::string> names) {
  const Style style = style_for(image.cols, image.rows);
  std::vector<Rect> boxes;
  std::vector<Size> labels;
  for (const Mark& mark : marks) {
    boxes.push_back(mark.box);
    labels.push_back(text_size(mark.text, style));
  }
  std::vector<std::size_t> largest_first(marks.size());
  std::iota(largest_first.begin(), largest_first.end(), std::size_t{0});
  std::ranges::stable_sort(largest_first, std::greater<>{}, [&](std::size_t i) { return area_of(boxes[i]); });
  for (std::size_t i : largest_first) draw_box(image, marks[i], style);

  const bool has_legend = is_crowded(boxes, labels);
  const auto places = place_labels(boxes, labels, {image.cols, image.rows}, has_legend);
  for (std::size_t i = marks.size(); i-- > 0;) {
    if (places[i]) draw_label(image, *places[i], marks[i], style);
  }
  if (has_legend) draw_legend(image, marks, boxes, names, style);
}

}  // namespace

void draw_onto(Picture& picture, const Detections& detections, std::span<const std::string> class_names,
               std::span<const std::int64_t> track_ids) {
  cv::Mat image(picture.height, picture.width, CV_8UC3, picture.pixels.get(),
                static_cast<std::size_t>(picture.row_bytes));
  draw_marks(image, marks_of(detections, class_names, track_ids, {image.cols, image.rows}), class_names);
}

Picture draw_detections(const Picture& picture, const Detections& detections, std::span<const std::string> class_names,
                        std::span<const std::int64_t> track_ids) {
  const cv::Mat original(picture.height, picture.width, CV_8UC3, picture.pixels.get(),
                         static_cast<std::size_t>(picture.row_bytes));
  const auto image = std::make_shared<cv::Mat>(original.clone());
  Picture drawn{std::shared_ptr<std::uint8_t>(image, image->data), image->cols, image->rows,
                static_cast<std::ptrdiff_t>(image->step), picture.is_lossless};
  draw_onto(drawn, detections, class_names, track_ids);
  return drawn;
}

}  // namespace vistazo::apps
