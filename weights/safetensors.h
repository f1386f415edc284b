#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "weights/checkpoint.h"

namespace vistazo {

// The tensors of one file, both lists sorted by name.
struct TensorTable {
  std::vector<CheckpointTensor> tensors;
  std::vector<UnsupportedTensor> unsupported;
};

// Reads the header of a safetensors file (https://huggingface.co/docs/safetensors): 8 bytes of header length, a JSON
// header, then the data, which the tensors must cover without a hole or an overlap. The tensors point into `file`.
//
// Everything that the file says is checked before it is used. Whatever the file holds, memory stays below 256 MB: the
// header has at most 100 MB (as the reference reader allows), 131072 tensors of 16 dimensions and tokens of 16 MiB.
// Throws Error{file}, its message starting with `source`.
TensorTable parse_safetensors(std::span<const std::byte> file, const std::string& source);

}  // namespace vistazo
