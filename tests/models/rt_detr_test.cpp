#include <doctest/doctest.h>
#include <vistazo/detector.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "models/families.h"
#include "models/rt_detr_config.h"
#include "tests/support/buffers.h"
#include "tests/support/model_checks.h"
#include "tests/support/stored_model.h"
#include "tests/weights/support.h"
#include "weights/checkpoint.h"

// RT-DETR and RT-DETRv2 against stored outputs of the PyTorch reference (tests/data/generate_rt_detr.py): small random
// models with every backbone and both dialects of names.
namespace vistazo {
namespace {

using testing::check_parity;
using testing::folders_of;
using testing::load_model;
using testing::StoredOutputs;

const std::filesystem::path kModels = std::filesystem::path(VISTAZO_TEST_DATA) / "rt_detr";

// f32 in any order of sums stays within 1e-6 of f64 (the generator prints it), and some 60 convolutions, whose batch
// norms are folded before rounding, add as much again; a wrong weight or shape costs 1e-2 and more.
constexpr double kF32Tolerance = 1e-5;

TEST_CASE("RT-DETR: the outputs are those of the PyTorch reference") {
  const std::vector<std::filesystem::path> folders = folders_of(kModels);
  REQUIRE(folders.size() == 5);
  for (const std::filesystem::path& folder : folders) check_parity(folder, kF32Tolerance);
}

// Wider models, not kept in the repository.
TEST_CASE("RT-DETR: the outputs of the larger reference set") {
  testing::check_larger_models({"rt_detr"});
}

TEST_CASE("RT-DETR: the model describes itself") {
  const Detector detector = load_model(kModels / "r18_original");
  const ModelInfo& info = detector.info();
  CHECK(info.family == "rt_detr");
  CHECK(info.dialect == "original");
  CHECK(info.queries == 12);
  CHECK(info.height_multiple == 32);
  CHECK(info.input_height == 640);
  CHECK(info.input_width == 640);
  CHECK(info.class_names.size() == 5);
  CHECK(info.architecture.find("ResNet14-vd") != std::string::npos);
  CHECK(load_model(kModels / "v2_discrete").info().family == "rt_detr_v2");
  CHECK(load_model(kModels / "v2_discrete").info().dialect == "huggingface");
  CHECK(load_model(kModels / "v2_hgnet_original").info().dialect == "original");
}

TEST_CASE("RT-DETR: a batch of two agrees with two single images") {
  for (const std::filesystem::path& folder : folders_of(kModels)) testing::check_batch(folder, kF32Tolerance);
}

TEST_CASE("RT-DETR: the same input gives the same bits") {
  for (const std::filesystem::path& folder : folders_of(kModels)) testing::check_repeatable(folder);
}

// As for RF-DETR. The discrete model is left out, since a
// sample that rounding moves to another cell changes its query altogether.
TEST_CASE("RT-DETR: bf16 stays near f32") {
  for (const char* name : {"r18_original", "r50", "hgnet_affine", "v2_hgnet_original"}) {
    testing::check_bf16(kModels / name, 0.8);
  }
}

TEST_CASE("RT-DETR: missing, misshapen and unknown tensors are named") {
  const auto refusal = [](auto&& change) {
    testing::TemporaryFolder folder;
    auto tensors = read_tensor_file(kModels / "r18_original" / "model.safetensors");
    change(tensors);
    std::filesystem::copy_file(kModels / "r18_original" / "config.json", folder.path() / "config.json");
    write_tensor_file(folder.path() / "model.safetensors", tensors);
    return testing::message_of(Error::Code::weights, [&] { load_model(folder.path()); });
  };
  const auto contains = [](const std::string& text, const char* part) { return text.find(part) != std::string::npos; };
  CHECK(refusal([](auto&) {}) == "");
  for (const char* name : {"backbone.res_layers.1.blocks.0.short.conv.norm.running_var",
                           "encoder.fpn_blocks.1.bottlenecks.2.conv2.conv.weight", "decoder.dec_score_head.2.bias",
                           "decoder.decoder.layers.0.cross_attn.value_proj.weight"}) {
    const std::string text = refusal([&](auto& tensors) { REQUIRE(tensors.erase(name) == 1); });
    CAPTURE(text);
    CHECK(contains(text, name));
    CHECK(contains(text, "is missing"));
  }
  const std::string misshapen = refusal([](auto& tensors) {
    std::swap(tensors.at("decoder.enc_score_head.weight").shape[0],
              tensors.at("decoder.enc_score_head.weight").shape[1]);
  });
  CHECK(contains(misshapen, "\"decoder.enc_score_head.weight\" has shape (32, 5)"));
  const std::string unknown = refusal([](auto& tensors) { tensors["backbone.extra.weight"] = {{1}, {1.0f}}; });
  CHECK(contains(unknown, "backbone.extra.weight"));
}

TEST_CASE("RT-DETR: configs that are not implemented are refused by name") {
  const auto refusal = [](const char* from, const char* to) {
    testing::TemporaryFolder folder;
    std::ifstream file(kModels / "v2_discrete" / "config.json");
    std::string text(std::istreambuf_iterator<char>(file), {});
    const std::size_t at = text.find(from);
    REQUIRE(at != std::string::npos);
    text.replace(at, std::string(from).size(), to);
    folder.write("config.json", text);
    std::filesystem::copy_file(kModels / "v2_discrete" / "model.safetensors", folder.path() / "model.safetensors");
    try {
      load_model(folder.path());
      return std::string();
    } catch (const Error& error) {
      return std::string(error.what());
    }
  };
  CHECK(refusal("\"discrete\"", "\"sparse\"").find("decoder_method") != std::string::npos);
  CHECK(refusal("\"normalize_before\": false", "\"normalize_before\": true").find("normalize_before") !=
        std::string::npos);
  CHECK(refusal("\"rt_detr_resnet\"", "\"resnet\"").find("backbone_config.model_type") != std::string::npos);
  CHECK(refusal("\"num_feature_levels\": 3", "\"num_feature_levels\": 4").find("num_feature_levels") !=
        std::string::npos);
}

// A file of the authors under Hugging Face's names is the same model.
TEST_CASE("RT-DETR: every tensor of the authors' files has a name in Hugging Face's") {
  for (const char* name : {"r18_original", "v2_hgnet_original"}) {
    CAPTURE(name);
    const std::unique_ptr<Checkpoint> checkpoint = open_checkpoint(kModels / name);
    const bool is_v2 = kRtDetrV2Files.recognises(*checkpoint);
    CHECK(is_v2 == std::string(name).starts_with("v2"));
    CHECK(kRtDetrFiles.recognises(*checkpoint) != is_v2);
    if (is_v2) continue;  // HGNetV2's names are not among the published sizes
    std::map<std::string, FloatTensor> renamed;
    for (const auto& [original, tensor] : read_tensor_file(kModels / name / "model.safetensors")) {
      const auto names = kRtDetrFiles.huggingface_names(*checkpoint, original);
      REQUIRE(names.has_value());
      const std::size_t part = tensor.values.size() / names->size();
      for (std::size_t i = 0; i < names->size(); ++i) {
        FloatTensor& to = renamed[(*names)[i]];
        to.shape = tensor.shape;
        if (names->size() > 1) to.shape[0] /= static_cast<std::int64_t>(names->size());
        const auto begin = tensor.values.begin() + static_cast<std::ptrdiff_t>(i * part);
        to.values.assign(begin, begin + static_cast<std::ptrdiff_t>(part));
      }
    }
    testing::TemporaryFolder folder;
    std::filesystem::copy_file(kModels / name / "config.json", folder.path() / "config.json");
    write_tensor_file(folder.path() / "model.safetensors", renamed);
    const Detector detector = load_model(folder.path());
    CHECK(detector.info().dialect == "huggingface");
    const StoredOutputs stored(kModels / name);
    CHECK(stored.outputs_of(detector).logits == stored.outputs_of(load_model(kModels / name)).logits);
  }
}

TEST_CASE("RT-DETR: the published sizes") {
  const std::unique_ptr<Checkpoint> checkpoint = open_checkpoint(kModels / "r18_original");
  REQUIRE(kRtDetrFiles.architectures.size() == 5);
  REQUIRE(kRtDetrV2Files.architectures.size() == 15);
  for (const OriginalFiles* files : {&kRtDetrFiles, &kRtDetrV2Files}) {
    for (const std::string_view architecture : files->architectures) {
      CAPTURE(architecture);
      const RtDetrConfig c = read_rt_detr_config(files->describe(architecture, *checkpoint, true).config);
      const auto has = [name = architecture](std::string_view part) { return name.find(part) != name.npos; };
      const bool is_narrow = has("r18") || has("r34") || has("r50-m");
      CHECK(c.classes() == 5);
      CHECK(c.queries == 300);
      CHECK(c.encoder.dim == (has("r101") || has("-x") ? 384 : architecture.ends_with("-h") ? 512 : 256));
      CHECK(c.encoder.hidden == (is_narrow ? c.encoder.dim / 2 : c.encoder.dim));
      CHECK(c.decoder.takes_nearest == has("-dsp"));
      CHECK(c.decoder.points == (has("-sp") ? architecture.back() - '0' : 4));
      CHECK(c.encoder.layers == (has("hgnetv2-h") ? 2 : 1));
      CHECK(std::holds_alternative<HgnetV2Config>(c.backbone) == has("hgnetv2"));
    }
  }
  // Trained with six layers, of which the third answers.
  const RtDetrConfig middle = read_rt_detr_config(kRtDetrFiles.describe("rtdetr-r50-m", *checkpoint, true).config);
  CHECK(middle.decoder.layers == 3);
  CHECK(middle.trained_layers == 6);
  CHECK(middle.encoder.in == std::vector<int>{512, 1024, 2048});
}

TEST_CASE("RT-DETR: layers behind the one that answers are read over") {
  testing::TemporaryFolder folder;
  std::ifstream file(kModels / "r18_original" / "config.json");
  std::string text(std::istreambuf_iterator<char>(file), {});
  text.replace(text.find('{'), 1, "{\"eval_idx\": 1,");
  folder.write("config.json", text);
  std::filesystem::copy_file(kModels / "r18_original" / "model.safetensors", folder.path() / "model.safetensors");
  const StoredOutputs stored(kModels / "r18_original");
  const RawOutputs outputs = stored.outputs_of(load_model(folder.path()));
  CHECK(outputs.boxes != stored.outputs_of(load_model(kModels / "r18_original")).boxes);
}

}  // namespace
}  // namespace vistazo
