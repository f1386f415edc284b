#pragma once

#include <memory>

#include "engine/model.h"

// One function a family. registry.cpp is the only caller.
namespace vistazo {

std::unique_ptr<Model> make_rf_detr(const ConfigReader& config, WeightReader& reader);
std::unique_ptr<Model> make_rt_detr(const ConfigReader& config, WeightReader& reader);
std::unique_ptr<Model> make_rt_detr_v2(const ConfigReader& config, WeightReader& reader);

}  // namespace vistazo
