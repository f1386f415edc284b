#pragma once

#include <string_view>

#include "models/original_names.h"

namespace vistazo {

class Checkpoint;

// What Hugging Face calls a tensor of D-FINE's, DEIM's or RT-DETRv4's authors, and of DEIMv2's.
TensorNames d_fine_huggingface_names(const Checkpoint& checkpoint, std::string_view name);
TensorNames deimv2_huggingface_names(const Checkpoint& checkpoint, std::string_view name);

}  // namespace vistazo
