#pragma once

#include <vistazo/image.h>

#include "engine/model.h"
#include "engine/ops.h"

namespace vistazo {

// preprocessor_config.json in our terms.
struct Preprocessing {
  enum class Fit {
    stretch,        // to input, ignoring the aspect ratio
    letterbox,      // keep the aspect ratio inside input, the rest is padding
    shortest_edge,  // keep the aspect ratio, the shorter side becomes shortest_edge unless longest_edge would be passed
    native,         // as it is, padded where it is smaller than input: fewer tokens than queries would not do
  };
  enum class Anchor { top_left, center };  // of a letterboxed image

  Fit fit = Fit::stretch;
  Anchor anchor = Anchor::top_left;
  GridSize input;  // stretch and letterbox: the model's input; native: the least
  int shortest_edge = 0, longest_edge = 0;
  bool antialias = true;
  bool rounding = true;  // of resized values to 8 bits
  float rescale = 1.0f / 255.0f;
  float mean[3] = {0, 0, 0};
  float std[3] = {1, 1, 1};
};

// What the family's authors do: stretch to the trained size, normalise with their mean and deviation.
Preprocessing default_preprocessing(const ModelTraits& traits);

// Reads preprocessor_config.json; what it leaves out is as default_preprocessing() has it. Throws Error{file} for a
// malformed value and Error{unsupported} for what is not implemented, such as another filter than bilinear.
Preprocessing read_preprocessing(const ConfigReader& config, const ModelTraits& traits);

// Where an image lies on the model's input.
struct Placement {
  GridSize canvas;  // the input
  int top = 0, left = 0;
  GridSize image;  // the resized image
};

// size_multiple: both sides of the canvas are rounded up to it where they are not fixed.
Placement place(const Preprocessing& p, GridSize image, int size_multiple);

// Writes image to entry `index` of pixels (B, 3, canvas height, canvas width).
void preprocess(Ops& ops, const Preprocessing& p, const Placement& placement, const Image& image, const Tensor& pixels,
                int index);

// Throws Error{argument} for an image that cannot be what it says, or that lies in a GPU's memory where the caller is
// not on one; the message names `function` and the image's index.
void require_valid(const Image& image, const char* function, std::size_t index, bool is_on_gpu = false);

}  // namespace vistazo
