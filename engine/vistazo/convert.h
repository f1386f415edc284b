#pragma once

#include <vistazo/detector.h>

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

namespace vistazo {

struct ConvertOptions {
  Precision dtype = Precision::automatic;  // of floating-point tensors in the file; automatic: as they are stored
  std::string architecture;                // as Options::architecture
  std::vector<std::string> class_names;    // as Options::class_names
};

struct Conversion {
  std::string family;        // "rf_detr"
  std::string dialect;       // whose tensor names the source speaks
  std::string architecture;  // the published size that it was recognised as; empty if it came with a config.json
  std::string part;          // as ModelInfo::part
  std::size_t tensors = 0;   // written
  std::vector<std::string> left_out;  // tensors of types that no model reads, such as f64
};

// Writes the model at `source`, anything that Detector::load takes, as a Hugging Face folder: config.json,
// preprocessor_config.json and model.safetensors with Hugging Face's tensor names. In the stored types the folder gives
// the same detections, bit by bit. `folder` is made if it is not there.
// Throws Error{argument} if `folder` has one of the three files, Error{unsupported} for a family whose names have no
// translation, Error{weights} for a value that the type cannot hold, and what Detector::load throws.
Conversion convert_model(const std::filesystem::path& source, const std::filesystem::path& folder,
                         const ConvertOptions& options = {});

}  // namespace vistazo
