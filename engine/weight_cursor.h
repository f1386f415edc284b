#pragma once

#include <cstdint>
#include <random>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/weight_store.h"
#include "weights/checkpoint.h"

namespace vistazo {

// Hands a checkpoint's tensors to a WeightStore and keeps account of what was read. Without a checkpoint it makes
// random weights of the shapes that are asked for.
class WeightReader {
 public:
  WeightReader(const Checkpoint& checkpoint, WeightStore& store) : checkpoint_(&checkpoint), store_(store) {}
  WeightReader(unsigned seed, WeightStore& store) : store_(store), random_(seed) {}

  bool is_random() const { return checkpoint_ == nullptr; }
  WeightStore& store() { return store_; }

  // Whether the checkpoint has the tensor, or one whose name starts so. Random weights have none.
  bool has(std::string_view name) const;
  bool has_prefix(std::string_view prefix) const;
  // The tensor as f32. Throws Error{weights}, naming the tensor, the shape found and the shape wanted.
  std::vector<float> floats(const std::string& name, const Shape& shape);
  // Tensors that inference does not need: they count as read.
  void ignore_prefix(std::string_view prefix);
  // Throws Error{weights} if the checkpoint has tensors that nobody read: it is not the model that its config
  // describes.
  void require_all_read() const;

  std::int64_t parameters() const { return parameters_; }
  // Whether somebody asked for the tensor's values, and did not only say that they are not needed.
  bool is_needed(std::string_view name) const { return needed_.contains(name); }

 private:
  std::vector<float> random_floats(std::string_view name, const Shape& shape);

  const Checkpoint* checkpoint_ = nullptr;
  WeightStore& store_;
  std::set<std::string, std::less<>> needed_, ignored_;
  std::int64_t parameters_ = 0;
  std::minstd_rand random_;
};

// A WeightReader at a prefix: w.child("layers.3").linear("fc1", ...) reads <prefix>layers.3.fc1.weight and .bias.
class WeightCursor {
 public:
  explicit WeightCursor(WeightReader& reader, std::string prefix = {}) : reader_(&reader), prefix_(std::move(prefix)) {}

  WeightCursor child(std::string_view name) const { return WeightCursor(*reader_, join(name) + "."); }
  bool has(std::string_view name) const { return reader_->has(join(name)); }

  // The same reader at the top of the checkpoint.
  WeightCursor top() const { return WeightCursor(*reader_); }
  // Tensors whose names start so are not needed here.
  void ignore(std::string_view prefix) const { reader_->ignore_prefix(join(prefix)); }

  std::vector<float> floats(std::string_view name, const Shape& shape) const;
  // name.weight (out, in) and name.bias (out). output_scale (out), or empty, is folded into both.
  Linear linear(std::string_view name, int in, int out, std::span<const float> output_scale = {}) const;
  // Several layers of one input as one: the outputs lie side by side. Each has `out` outputs.
  Linear fused_linear(std::initializer_list<std::string_view> names, int in, int out) const;
  // name.weight (out, in, 1, 1), a 1x1 convolution without bias.
  Linear pointwise(std::string_view name, int in, int out) const;
  // name.weight (out, in / groups, kernel, kernel), without bias.
  Convolution convolution(std::string_view name, const ConvolutionShape& shape) const;
  // name.weight and name.bias (size).
  Norm norm(std::string_view name, int size, float eps) const;

  WeightStore& store() const { return reader_->store(); }

 private:
  std::string join(std::string_view name) const { return prefix_ + std::string(name); }

  WeightReader* reader_;
  std::string prefix_;
};

}  // namespace vistazo
