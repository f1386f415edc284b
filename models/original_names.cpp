#include "models/original_names.h"

#include <array>

#include "weights/name_rules.h"

namespace vistazo {
namespace {

constexpr std::array kHgnetV2{
    NameRule{"stem.*.conv.*", "embedder.*.convolution.*"},
    NameRule{"stem.*.bn.*", "embedder.*.normalization.*"},
    NameRule{"stem.*.lab.*", "embedder.*.lab.*"},
    NameRule{"stages.*.downsample.conv.*", "encoder.stages.*.downsample.convolution.*"},
    NameRule{"stages.*.downsample.bn.*", "encoder.stages.*.downsample.normalization.*"},
    NameRule{"stages.*.blocks.*.*.*.conv.*", "encoder.stages.*.blocks.*.*.*.convolution.*"},
    NameRule{"stages.*.blocks.*.*.*.bn.*", "encoder.stages.*.blocks.*.*.*.normalization.*"},
    NameRule{"stages.*.blocks.*.*.*.lab.*", "encoder.stages.*.blocks.*.*.*.lab.*"},
    NameRule{"stages.*.blocks.*.layers.*.*.conv.*", "encoder.stages.*.blocks.*.layers.*.*.convolution.*"},
    NameRule{"stages.*.blocks.*.layers.*.*.bn.*", "encoder.stages.*.blocks.*.layers.*.*.normalization.*"},
    NameRule{"stages.*.blocks.*.layers.*.*.lab.*", "encoder.stages.*.blocks.*.layers.*.*.lab.*"},
};

// Hugging Face's names are those of the files that it publishes, which transformers 5.17 renames as it reads them.
constexpr std::array kRtDetr{
    NameRule{"encoder.encoder.*.layers.*.self_attn.in_proj_weight",
             "model.encoder.encoder.*.layers.*.self_attn.{q_proj,k_proj,v_proj}.weight"},
    NameRule{"encoder.encoder.*.layers.*.self_attn.in_proj_bias",
             "model.encoder.encoder.*.layers.*.self_attn.{q_proj,k_proj,v_proj}.bias"},
    NameRule{"encoder.encoder.*.layers.*.self_attn.out_proj.*",
             "model.encoder.encoder.*.layers.*.self_attn.out_proj.*"},
    NameRule{"encoder.encoder.*.layers.*.linear1.*", "model.encoder.encoder.*.layers.*.fc1.*"},
    NameRule{"encoder.encoder.*.layers.*.linear2.*", "model.encoder.encoder.*.layers.*.fc2.*"},
    NameRule{"encoder.encoder.*.layers.*.norm1.*", "model.encoder.encoder.*.layers.*.self_attn_layer_norm.*"},
    NameRule{"encoder.encoder.*.layers.*.norm2.*", "model.encoder.encoder.*.layers.*.final_layer_norm.*"},
    NameRule{"decoder.decoder.layers.*.self_attn.in_proj_weight",
             "model.decoder.layers.*.self_attn.{q_proj,k_proj,v_proj}.weight"},
    NameRule{"decoder.decoder.layers.*.self_attn.in_proj_bias",
             "model.decoder.layers.*.self_attn.{q_proj,k_proj,v_proj}.bias"},
    NameRule{"decoder.decoder.layers.*.self_attn.out_proj.*", "model.decoder.layers.*.self_attn.out_proj.*"},
    NameRule{"decoder.decoder.layers.*.cross_attn.**", "model.decoder.layers.*.encoder_attn.**"},
    NameRule{"decoder.decoder.layers.*.linear1.*", "model.decoder.layers.*.fc1.*"},
    NameRule{"decoder.decoder.layers.*.linear2.*", "model.decoder.layers.*.fc2.*"},
    NameRule{"decoder.decoder.layers.*.norm1.*", "model.decoder.layers.*.self_attn_layer_norm.*"},
    NameRule{"decoder.decoder.layers.*.norm2.*", "model.decoder.layers.*.encoder_attn_layer_norm.*"},
    NameRule{"decoder.decoder.layers.*.norm3.*", "model.decoder.layers.*.final_layer_norm.*"},
    NameRule{"decoder.dec_score_head.**", "model.decoder.class_embed.**"},
    NameRule{"decoder.dec_bbox_head.**", "model.decoder.bbox_embed.**"},
    NameRule{"decoder.query_pos_head.**", "model.decoder.query_pos_head.**"},
    NameRule{"decoder.tgt_embed.weight", "model.weight_embedding.weight"},
    NameRule{"decoder.enc_output.proj.*", "model.enc_output.0.*"},
    NameRule{"decoder.enc_output.norm.*", "model.enc_output.1.*"},
    NameRule{"decoder.enc_output.*.*", "model.enc_output.*.*"},
    NameRule{"decoder.enc_score_head.*", "model.enc_score_head.*"},
    NameRule{"decoder.enc_bbox_head.**", "model.enc_bbox_head.**"},
    NameRule{"decoder.denoising_class_embed.*", "model.denoising_class_embed.*"},
    NameRule{"decoder.anchors", ""},
    NameRule{"decoder.valid_mask", ""},
};

}  // namespace

TensorNames hgnet_v2_names(std::string_view name) {
  if (name.ends_with("num_batches_tracked")) return std::vector<std::string>();  // transformers' norms are frozen
  return rename(kHgnetV2, name);
}

TensorNames rt_detr_names(std::string_view name) {
  return rename(kRtDetr, name);
}

TensorNames behind(std::string_view prefix, TensorNames names) {
  if (!names) return names;
  for (std::string& name : *names) {
    if (!name.empty()) name.insert(0, prefix);
  }
  return names;
}

std::optional<std::string_view> without(std::string_view prefix, std::string_view name) {
  if (!name.starts_with(prefix)) return {};
  return name.substr(prefix.size());
}

}  // namespace vistazo
