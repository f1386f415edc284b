#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

#include "kernels/base/dtype.h"

namespace vistazo {

// Element type of a storage, as PyTorch names its class.
struct TorchElement {
  std::string_view storage;  // "FloatStorage"
  std::string_view name;     // as safetensors names it
  std::size_t bytes;
  std::optional<DType> dtype;  // none: PyTorch has it, this library does not
};

// Null for a name that is none.
const TorchElement* find_torch_element(std::string_view storage);

// The names that a checkpoint's pickle may hold.
bool is_torch_global(std::string_view module, std::string_view name);

}  // namespace vistazo
