#include "apps/density.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <opencv2/imgproc.hpp>

namespace vistazo::apps {
namespace {

// Objects for each square of 1000 x 1000 pixels, smoothed, in the overview's pixels.
cv::Mat density_of(const DensityMap& density, cv::Size size) {
  cv::Mat counts(density.rows(), density.columns(), CV_32F);
  std::ranges::copy(density.counts(), counts.begin<float>());
  constexpr double kSmoothing = 1.5;  // cells
  cv::GaussianBlur(counts, counts, {}, kSmoothing, kSmoothing, cv::BORDER_REFLECT);
  const double area = static_cast<double>(density.cell()) * density.cell();
  counts *= 1e6 / area;
  cv::Mat result;
  cv::resize(counts, result, size, 0, 0, cv::INTER_LINEAR);
  return cv::max(result, 0.0);
}

cv::Mat colours_of(const cv::Mat& density, double most) {
  cv::Mat levels, colours;
  density.convertTo(levels, CV_8U, 255.0 / most);
  cv::applyColorMap(levels, colours, cv::COLORMAP_VIRIDIS);
  return colours;
}

// A bar with the colours from none to most, below the overview.
void draw_scale(cv::Mat& image, double most, std::int64_t objects) {
  const int height = std::max(18, image.cols / 40), margin = height / 3;
  cv::Mat strip(height + 2 * margin, image.cols, CV_8UC3, cv::Scalar::all(24));
  const double font = height / 30.0;
  const auto text = [&](const std::string& words, int x) {
    cv::putText(strip, words, {x, margin + height * 3 / 4}, cv::FONT_HERSHEY_DUPLEX, font, cv::Scalar::all(235),
                std::max(1, height / 20), cv::LINE_AA);
    int baseline = 0;
    return x + cv::getTextSize(words, cv::FONT_HERSHEY_DUPLEX, font, std::max(1, height / 20), &baseline).width;
  };
  int x = text(fmt::format("{} objects    0", objects), margin) + margin;
  const int bar = image.cols / 4;
  if (x + bar < image.cols) {
    cv::Mat ramp(height, bar, CV_32F);
    for (int column = 0; column < bar; ++column) {
      ramp.col(column).setTo(most * column / std::max(1, bar - 1));
    }
    colours_of(ramp, most).copyTo(strip(cv::Rect(x, margin, bar, height)));
    text(fmt::format("{:.0f} per 1000 x 1000 pixels", most), x + bar + margin);
  }
  cv::vconcat(image, strip, image);
}

}  // namespace

Picture draw_density(Scan& scan, const DensityMap& density) {
  RegionReader& reader = *scan.reader;
  const double scale = std::min(1.0, static_cast<double>(kOverviewSide) / std::max(reader.width(), reader.height()));
  const auto shrunk = [&](int size) { return std::max(1, static_cast<int>(std::lround(size * scale))); };
  const auto image = std::make_shared<cv::Mat>(shrunk(reader.height()), shrunk(reader.width()), CV_8UC3);
  reader.read_overview(image->cols, image->rows, image->data);
  cv::cvtColor(*image, *image, cv::COLOR_RGB2BGR);

  // The map covers the full resolution, the overview the part that was read.
  const double to_x = image->cols / (reader.width() * scan.scale_x);
  const double to_y = image->rows / (reader.height() * scan.scale_y);
  const cv::Size whole(std::max(1, static_cast<int>(std::lround(density.columns() * density.cell() * to_x))),
                       std::max(1, static_cast<int>(std::lround(density.rows() * density.cell() * to_y))));
  cv::Mat values = density_of(density, whole);
  const cv::Rect part(std::clamp(static_cast<int>(scan.left * to_x), 0, std::max(0, whole.width - image->cols)),
                      std::clamp(static_cast<int>(scan.top * to_y), 0, std::max(0, whole.height - image->rows)),
                      std::min(image->cols, whole.width), std::min(image->rows, whole.height));
  values = values(part).clone();
  cv::resize(values, values, image->size(), 0, 0, cv::INTER_LINEAR);
  double most = 0;
  cv::minMaxLoc(values, nullptr, &most);
  most = std::max(most, 1e-6);
  constexpr double kOpacity = 0.55;
  cv::addWeighted(*image, 1.0 - kOpacity, colours_of(values, most), kOpacity, 0.0, *image);
  draw_scale(*image, most, density.objects());
  return {std::shared_ptr<std::uint8_t>(image, image->data), image->cols, image->rows,
          static_cast<std::ptrdiff_t>(image->step), false};
}

}  // namespace vistazo::apps
