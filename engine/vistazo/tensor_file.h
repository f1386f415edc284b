#pragma once

#include <vistazo/error.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace vistazo {

// A tensor as f32, row-major.
struct FloatTensor {
  std::vector<std::int64_t> shape;
  std::vector<float> values;
};

// Reads all floating-point tensors of a .safetensors file, converted to f32; others are skipped.
// Throws Error{file} for a missing or malformed file.
std::map<std::string, FloatTensor> read_tensor_file(const std::filesystem::path& path);

// Writes a .safetensors file, whole or not at all. Throws Error{file} if that fails.
void write_tensor_file(const std::filesystem::path& path, const std::map<std::string, FloatTensor>& tensors);

}  // namespace vistazo
