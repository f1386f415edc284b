#pragma once

#include <string>
#include <vector>

#include "kernels/activation.h"

// What the config.json of several families says in the same words.
namespace vistazo {

class ConfigReader;

// Throws Error{unsupported or file} for another word than relu, silu or gelu.
Activation read_activation(const ConfigReader& config, const char* key, const char* fallback);

// The stages, 1-based and rising, whose feature maps a backbone gives: its out_indices, or out_features as "stage3";
// the last one if it has neither. Stage 0 is what enters the first.
std::vector<int> read_stages(const ConfigReader& backbone, int stages);

// The names under id2label, or "class 0", "class 1", ... for num_labels classes.
std::vector<std::string> read_class_names(const ConfigReader& config);

}  // namespace vistazo
