#pragma once

#include <vistazo/detector.h>
#include <vistazo/tensor_file.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "tests/support/buffers.h"

// Model folders with outputs of the PyTorch reference beside them, in io.safetensors.
namespace vistazo::testing {

inline std::vector<std::filesystem::path> folders_of(const std::filesystem::path& root,
                                                     const std::string& prefix = "") {
  std::vector<std::filesystem::path> folders;
  for (const auto& entry : std::filesystem::directory_iterator(root)) {
    if (entry.is_directory() && entry.path().filename().string().starts_with(prefix)) folders.push_back(entry.path());
  }
  std::ranges::sort(folders);
  return folders;
}

inline Detector load_model(const std::filesystem::path& folder, Precision precision = Precision::f32, int threads = 2) {
  Options options;
  options.device = Device::cpu;
  options.precision = precision;
  options.cpu_threads = threads;
  return Detector::load(folder, options);
}

class StoredOutputs {
 public:
  explicit StoredOutputs(const std::filesystem::path& folder) : tensors_(read_tensor_file(folder / "io.safetensors")) {}

  // Of the input (B, 3, H, W).
  int side(std::size_t axis) const { return static_cast<int>(pixels().shape[axis]); }
  std::span<const float> image(int index) const {
    const auto size = pixels().values.size() / static_cast<std::size_t>(side(0));
    return std::span(pixels().values).subspan(static_cast<std::size_t>(index) * size, size);
  }
  const std::vector<float>& logits() const { return tensors_.at("logits").values; }
  const std::vector<float>& boxes() const { return tensors_.at("pred_boxes").values; }
  const std::vector<std::int64_t>& logits_shape() const { return tensors_.at("logits").shape; }

  RawOutputs outputs_of(const Detector& detector) const {
    return detector.forward(pixels().values, side(0), side(2), side(3));
  }

  // Queries whose logits are within 10 % of the stored ones and whose box within 2 % of the image.
  int near_rows(const RawOutputs& outputs) const {
    const auto row = [](const std::vector<float>& values, int index, int cols) {
      const auto begin = values.begin() + std::ptrdiff_t{index} * cols;
      return std::vector<float>(begin, begin + cols);
    };
    int near = 0;
    for (int i = 0; i < outputs.batch * outputs.queries; ++i) {
      const bool has_logits =
          relative_error(row(outputs.logits, i, outputs.classes), row(logits(), i, outputs.classes)) < 0.1;
      near += has_logits && max_difference(row(outputs.boxes, i, 4), row(boxes(), i, 4)) < 0.02;
    }
    return near;
  }

 private:
  const FloatTensor& pixels() const { return tensors_.at("pixel_values"); }

  std::map<std::string, FloatTensor> tensors_;
};

}  // namespace vistazo::testing
