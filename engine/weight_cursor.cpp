#include "engine/weight_cursor.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "kernels/base/error.h"

namespace vistazo {
namespace {

bool has_shape(const CheckpointTensor& tensor, const Shape& shape) {
  if (static_cast<int>(tensor.shape.size()) != shape.rank()) return false;
  for (int i = 0; i < shape.rank(); ++i) {
    if (tensor.shape[static_cast<std::size_t>(i)] != shape[i]) return false;
  }
  return true;
}

void scale_rows(std::vector<float>& matrix, std::span<const float> scale) {
  const std::size_t cols = matrix.size() / scale.size();
  for (std::size_t i = 0; i < matrix.size(); ++i) matrix[i] *= scale[i / cols];
}

void append(std::vector<float>& to, const std::vector<float>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

}  // namespace

bool WeightReader::has(std::string_view name) const {
  return checkpoint_ && checkpoint_->find(name);
}

bool WeightReader::has_prefix(std::string_view prefix) const {
  return checkpoint_ && std::ranges::any_of(checkpoint_->tensors(),
                                            [&](const CheckpointTensor& t) { return t.name.starts_with(prefix); });
}

std::vector<float> WeightReader::floats(const std::string& name, const Shape& shape) {
  parameters_ += shape.elements();
  if (!checkpoint_) return random_floats(name, shape);
  const CheckpointTensor* tensor = checkpoint_->find(name);
  if (!tensor) {
    fail(Error::Code::weights, "{}: \"{}\" is missing; the config needs it with shape {}", checkpoint_->source(), name,
         shape.text());
  }
  if (!has_shape(*tensor, shape)) {
    fail(Error::Code::weights, "{}: \"{}\" has shape ({}); the config needs {}", checkpoint_->source(), name,
         fmt::join(tensor->shape, ", "), shape.text());
  }
  std::vector<float> values(static_cast<std::size_t>(shape.elements()));
  read_floats(*tensor, checkpoint_->source(), values);
  needed_.insert(name);
  return values;
}

void WeightReader::ignore_prefix(std::string_view prefix) {
  if (!checkpoint_) return;
  for (const CheckpointTensor& tensor : checkpoint_->tensors()) {
    if (tensor.name.starts_with(prefix)) ignored_.insert(tensor.name);
  }
}

void WeightReader::require_all_read() const {
  if (!checkpoint_) return;
  std::vector<std::string_view> unread;
  for (const CheckpointTensor& tensor : checkpoint_->tensors()) {
    if (!needed_.contains(tensor.name) && !ignored_.contains(tensor.name)) unread.push_back(tensor.name);
  }
  if (unread.empty()) return;
  const std::size_t shown = std::min<std::size_t>(unread.size(), 5);
  fail(Error::Code::weights,
       "{}: {} of {} tensors belong to nothing that the config describes: {}{}; check that config.json is this "
       "checkpoint's",
       checkpoint_->source(), unread.size(), checkpoint_->tensors().size(),
       fmt::join(unread.begin(), unread.begin() + static_cast<std::ptrdiff_t>(shown), ", "),
       unread.size() > shown ? ", ..." : "");
}

// Values that keep activations near unit size: matrices by their fan-in, scales near 1, biases near 0.
std::vector<float> WeightReader::random_floats(std::string_view name, const Shape& shape) {
  const auto count = static_cast<std::size_t>(shape.elements());
  const bool is_scale = shape.rank() == 1 && !name.ends_with("bias") && !name.ends_with("running_mean");
  const float fan_in = shape.rank() < 2 ? 2500.0f : static_cast<float>(shape.elements() / shape[0]);
  const float half_width = std::sqrt(3.0f / fan_in);
  std::uniform_real_distribution<float> uniform(-half_width, half_width);
  std::vector<float> values(count);
  for (float& v : values) v = uniform(random_) + (is_scale ? 1.0f : 0.0f);
  return values;
}

std::vector<float> WeightCursor::floats(std::string_view name, const Shape& shape) const {
  return reader_->floats(join(name), shape);
}

Linear WeightCursor::linear(std::string_view name, int in, int out, std::span<const float> output_scale) const {
  const WeightCursor w = child(name);
  std::vector<float> weight = w.floats("weight", {out, in}), bias = w.floats("bias", {out});
  if (!output_scale.empty()) {
    scale_rows(weight, output_scale);
    scale_rows(bias, output_scale);
  }
  return store().linear(weight, bias, in, out);
}

Linear WeightCursor::fused_linear(std::initializer_list<std::string_view> names, int in, int out) const {
  std::vector<float> weight, bias;
  for (const std::string_view name : names) {
    append(weight, child(name).floats("weight", {out, in}));
    append(bias, child(name).floats("bias", {out}));
  }
  return store().linear(weight, bias, in, out * static_cast<int>(names.size()));
}

Linear WeightCursor::pointwise(std::string_view name, int in, int out) const {
  return store().linear(child(name).floats("weight", {out, in, 1, 1}), {}, in, out);
}

Convolution WeightCursor::convolution(std::string_view name, const ConvolutionShape& shape) const {
  const Shape weight{shape.out_channels, shape.in_channels / shape.groups, shape.kernel_height, shape.kernel_width};
  return store().convolution(child(name).floats("weight", weight), {}, shape);
}

Norm WeightCursor::norm(std::string_view name, int size, float eps) const {
  const WeightCursor w = child(name);
  return store().norm(w.floats("weight", {size}), w.floats("bias", {size}), eps);
}

}  // namespace vistazo
