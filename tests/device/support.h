#pragma once

#include <vistazo/detector.h>
#include <vistazo/tensor_file.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <random>
#include <span>
#include <string>
#include <vector>

// What the tests of whole models on a GPU share. They run on machines that have little more than the programs: folders
// can be named by the environment.
namespace vistazo::testing {

// $VISTAZO_TEST_DATA, else tests/data of the source tree; and $VISTAZO_WEIGHTS, else its weights.
inline std::filesystem::path data_folder() {
  const char* named = std::getenv("VISTAZO_TEST_DATA");
  return named ? named : VISTAZO_TEST_DATA;
}
inline std::filesystem::path weights_folder() {
  const char* named = std::getenv("VISTAZO_WEIGHTS");
  return named ? named : VISTAZO_WEIGHTS;
}

inline std::vector<std::filesystem::path> model_folders(const std::filesystem::path& root) {
  std::vector<std::filesystem::path> folders;
  for (const auto& entry : std::filesystem::directory_iterator(root)) {
    if (std::filesystem::exists(entry.path() / "config.json")) folders.push_back(entry.path());
  }
  std::ranges::sort(folders);
  return folders;
}

inline Options options_for(Device device, Precision precision = Precision::f32) {
  Options options;
  options.device = device;
  options.precision = precision;
  options.max_batch = 16;
  options.min_score = 0.0f;
  return options;
}

// An RGB image of smooth random blobs: detectors answer noise with nothing but background.
class Picture {
 public:
  Picture(int width, int height, unsigned seed)
      : width_(width), height_(height), bytes_(3 * static_cast<std::size_t>(width) * static_cast<std::size_t>(height)) {
    std::minstd_rand random(seed);
    for (std::size_t i = 0; i < bytes_.size(); ++i) {
      const std::size_t row = i / (3 * static_cast<std::size_t>(width)),
                        column = i / 3 % static_cast<std::size_t>(width);
      const bool is_blob = (row / 17 + column / 23 + seed) % 3 == 0;
      bytes_[i] = static_cast<std::uint8_t>((is_blob ? 170 : 30) + random() % 60);
    }
  }
  Image view() const { return {bytes_.data(), width_, height_, 3 * width_, PixelFormat::rgb8}; }

 private:
  int width_, height_;
  std::vector<std::uint8_t> bytes_;
};

}  // namespace vistazo::testing
