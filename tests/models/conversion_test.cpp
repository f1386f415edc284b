#include <doctest/doctest.h>
#include <vistazo/convert.h>
#include <vistazo/detector.h>
#include <vistazo/tensor_file.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "models/d_fine_names.h"
#include "tests/support/stored_model.h"
#include "tests/weights/support.h"
#include "weights/checkpoint.h"
#include "weights/tensor_file.h"

// `vistazo convert` on a stored model of every family, backbone, encoder and dialect. That transformers loads what
// comes out is for tests/bench/peers/convert_peer.py.
namespace vistazo {
namespace {

using testing::folders_of;
using testing::load_model;
using testing::StoredOutputs;
namespace fs = std::filesystem;

std::string bytes_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

ConvertOptions in_f32() {
  ConvertOptions options;
  options.dtype = Precision::f32;
  return options;
}

TEST_CASE("convert: every family and dialect gives the same outputs in f32, bit by bit, and converts to itself") {
  std::size_t originals = 0;
  for (const char* set : {"models", "rt_detr", "d_fine"}) {
    for (const fs::path& source : folders_of(fs::path(VISTAZO_TEST_DATA) / set)) {
      CAPTURE(source.filename().string());
      const testing::TemporaryFolder folder;
      const fs::path first = folder.path() / "first", second = folder.path() / "second";
      if (convert_model(source, first, in_f32()).dialect == "original") ++originals;
      convert_model(first, second, in_f32());
      CHECK(bytes_of(first / "model.safetensors") == bytes_of(second / "model.safetensors"));
      const Detector detector = load_model(first);
      CHECK(detector.info().dialect == "huggingface");
      for (const TensorInfo& tensor : detector.info().tensors) {
        if (!tensor.name.ends_with("num_batches_tracked")) CHECK(tensor.dtype == "f32");
      }
      const StoredOutputs stored(source);
      const RawOutputs before = stored.outputs_of(load_model(source)), after = stored.outputs_of(detector);
      CHECK(before.logits == after.logits);
      CHECK(before.boxes == after.boxes);
    }
  }
  CHECK(originals >= 8);
}

// D-FINE's model with another scale, in a new folder.
void write_with_scale(const fs::path& folder, DType dtype, std::span<const std::byte> scale) {
  const fs::path source = fs::path(VISTAZO_TEST_DATA) / "d_fine" / "d_fine_original";
  const auto checkpoint = open_checkpoint(source);
  std::vector<CheckpointTensor> tensors(checkpoint->tensors().begin(), checkpoint->tensors().end());
  for (CheckpointTensor& tensor : tensors) {
    if (tensor.name == "decoder.reg_scale") tensor = {tensor.name, dtype, {1}, scale};
  }
  fs::create_directories(folder);
  fs::copy_file(source / "config.json", folder / "config.json");
  write_safetensors(folder / "model.safetensors", tensors);
}

TEST_CASE("convert: a scale that D-FINE's training saves as an integer becomes a number") {
  const testing::TemporaryFolder folder;
  const fs::path whole = folder.path() / "whole", real = folder.path() / "real", target = folder.path() / "target";
  const std::int64_t four = 4;
  const float same = 4.0f;
  write_with_scale(whole, DType::i64, std::as_bytes(std::span(&four, 1)));
  write_with_scale(real, DType::f32, std::as_bytes(std::span(&same, 1)));
  const StoredOutputs stored(fs::path(VISTAZO_TEST_DATA) / "d_fine" / "d_fine_original");
  CHECK(stored.outputs_of(load_model(whole)).boxes == stored.outputs_of(load_model(real)).boxes);
  convert_model(whole, target);
  CHECK(read_tensor_file(target / "model.safetensors").at("model.decoder.reg_scale").values ==
        std::vector<float>{4.0f});
}

TEST_CASE("convert: names that a file has twice, or that Hugging Face lacks, are left out") {
  using Names = std::vector<std::string>;
  const fs::path models = fs::path(VISTAZO_TEST_DATA) / "d_fine";
  const auto d_fine = open_checkpoint(models / "d_fine_original");
  CHECK(d_fine_huggingface_names(*d_fine, "decoder.up") == Names{"model.decoder.up"});
  CHECK(d_fine_huggingface_names(*d_fine, "decoder.decoder.up") == Names{});
  CHECK(d_fine_huggingface_names(*d_fine, "encoder.feature_projector.0.weight") == Names{});
  CHECK(d_fine_huggingface_names(*d_fine, "backbone.stem.stem1.bn.num_batches_tracked") == Names{});
  CHECK(d_fine_huggingface_names(*d_fine, "encoder.fpn_blocks.0.cv2.1.norm.bias") ==
        Names{"model.encoder.fpn_blocks.0.conv2.norm.bias"});
  CHECK(!d_fine_huggingface_names(*d_fine, "decoder.extra.weight"));
  const auto deimv2 = open_checkpoint(models / "deimv2_dinov3_original");
  CHECK(deimv2_huggingface_names(*deimv2, "backbone.dinov3.blocks.1.attn.qkv.bias") ==
        Names{"model.conv_encoder.backbone.layer.1.attention.q_proj.bias", "",
              "model.conv_encoder.backbone.layer.1.attention.v_proj.bias"});
  CHECK(deimv2_huggingface_names(*deimv2, "decoder.decoder.layers.0.swish_ffn.w12.bias") ==
        Names{"model.decoder.layers.0.mlp.gate_proj.bias", "model.decoder.layers.0.mlp.up_proj.bias"});
}

}  // namespace
}  // namespace vistazo
