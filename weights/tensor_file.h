#pragma once

#include <filesystem>
#include <span>

#include "weights/checkpoint.h"

namespace vistazo {

// Writes a safetensors file: data aligned for its type, tensors of equal element size in the order of their names. The
// file appears whole or not at all: it is written under another name in the same folder, then renamed over `path`.
// Throws Error{file} if it cannot be written, Error{argument} for a name that appears twice, is too long or not UTF-8,
// or bytes that do not fit the shape.
void write_safetensors(const std::filesystem::path& path, std::span<const CheckpointTensor> tensors);

}  // namespace vistazo
