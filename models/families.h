#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/model.h"
#include "engine/model_source.h"
#include "weights/name_rules.h"

// One function a family, and what the family knows of checkpoints that come without a config. registry.cpp is the only
// caller.
namespace vistazo {

// The files that a family's authors publish: weights alone, with tensor names of their own.
struct OriginalFiles {
  // The sizes they publish, as --arch calls them: "rf-detr-nano". No two families share a name.
  std::span<const std::string_view> architectures;
  // Whether the tensors are called as the family's, in any of its dialects.
  bool (*recognises)(const Checkpoint& checkpoint);
  // What stands in for the config files of one of `architectures`. Counts of classes and queries come from the tensors.
  // is_named: the user says that it is this size, so what training may change beside them (the resolution) comes from
  // the tensors too. Whether the description fits is found out by reading the model with it.
  Description (*describe)(std::string_view architecture, const Checkpoint& checkpoint, bool is_named);
  // What Hugging Face calls a tensor of the authors' files, as rename() answers: for `vistazo convert`. Null where the
  // two agree.
  std::optional<std::vector<std::string>> (*huggingface_names)(const Checkpoint& checkpoint, std::string_view name);
};

std::unique_ptr<Model> make_d_fine(const ConfigReader& config, WeightReader& reader);
std::unique_ptr<Model> make_deimv2(const ConfigReader& config, WeightReader& reader);
std::unique_ptr<Model> make_rf_detr(const ConfigReader& config, WeightReader& reader);
std::unique_ptr<Model> make_rt_detr(const ConfigReader& config, WeightReader& reader);
std::unique_ptr<Model> make_rt_detr_v2(const ConfigReader& config, WeightReader& reader);
extern const OriginalFiles kDFineFiles, kDeimv2Files, kRfDetrFiles, kRtDetrFiles, kRtDetrV2Files;

}  // namespace vistazo
