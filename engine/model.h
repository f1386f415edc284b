#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/ops.h"

namespace vistazo {

class ConfigReader;
class WeightReader;

// How raw logits become scores.
enum class Scoring {
  sigmoid,  // every class of every query is a candidate of its own
};

struct ModelTraits {
  std::string family;        // "rf_detr"
  std::string dialect;       // "huggingface", "original" or "random"
  std::string architecture;  // one line for people
  std::vector<std::string> class_names;
  GridSize input;         // the size it was trained at
  int size_multiple = 1;  // both sides of an input are multiples of it
  int queries = 0;
  Scoring scoring = Scoring::sigmoid;
  // How the family's authors prepare pixels; a folder's preprocessor_config.json overrides it.
  bool rounds_resized = true;  // to 8 bits: they resize before they rescale
  float mean[3] = {0, 0, 0};
  float std[3] = {1, 1, 1};
};

// A detector family with its weights: everything between normalised pixels and raw outputs. Immutable.
class Model {
 public:
  struct Outputs {
    Tensor logits;  // (B, Q, K) f32
    Tensor boxes;   // (B, Q, 4) f32: centre x, centre y, width, height in 0..1 of the input
  };

  virtual ~Model() = default;
  virtual const ModelTraits& traits() const = 0;
  // pixels (B, 3, H, W) f32, normalised. The outputs are the arena's.
  virtual Outputs forward(Ops& ops, const Tensor& pixels) const = 0;
};

// Reads the model that config.json describes; models/registry.cpp knows the families.
// Throws Error{unsupported} for an unknown family or option, Error{weights} for missing, misshapen and unread tensors.
std::unique_ptr<Model> make_model(const ConfigReader& config, WeightReader& weights);

}  // namespace vistazo
