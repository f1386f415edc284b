#include "models/d_fine_names.h"

#include <array>
#include <string>

#include "weights/checkpoint.h"
#include "weights/name_rules.h"

// The authors' files and those that transformers 5.17 writes. What both families share with RT-DETR is in
// original_names.
namespace vistazo {
namespace {

constexpr std::array kBoth{
    NameRule{"decoder.up", "model.decoder.up"},
    NameRule{"decoder.reg_scale", "model.decoder.reg_scale"},
    NameRule{"decoder.decoder.up", "model.decoder.up"},
    NameRule{"decoder.decoder.reg_scale", "model.decoder.reg_scale"},
    NameRule{"decoder.pre_bbox_head.**", "model.decoder.pre_bbox_head.**"},
    NameRule{"decoder.decoder.lqe_layers.**", "model.decoder.lqe_layers.**"},
    NameRule{"decoder.decoder.layers.*.gateway.gate.*", "model.decoder.layers.*.gateway.gate.*"},
    NameRule{"encoder.lateral_convs.**", "model.encoder.lateral_convs.**"},
    NameRule{"encoder.downsample_convs.*.0.cv1.**", "model.encoder.downsample_convs.*.conv1.**"},
    NameRule{"encoder.downsample_convs.*.0.cv2.**", "model.encoder.downsample_convs.*.conv2.**"},
};

constexpr std::array kDFine{
    NameRule{"encoder.input_proj.*.conv.*", "model.encoder_input_proj.*.0.*"},
    NameRule{"encoder.input_proj.*.norm.*", "model.encoder_input_proj.*.1.*"},
    NameRule{"decoder.input_proj.*.conv.*", "model.decoder_input_proj.*.0.*"},
    NameRule{"decoder.input_proj.*.norm.*", "model.decoder_input_proj.*.1.*"},
    NameRule{"decoder.decoder.layers.*.gateway.norm.*", "model.decoder.layers.*.gateway.norm.*"},
    NameRule{"encoder.*.*.cv1.**", "model.encoder.*.*.conv1.**"},  // of fpn_blocks and pan_blocks
    NameRule{"encoder.*.*.cv2.0.**", "model.encoder.*.*.csp_rep1.**"},
    NameRule{"encoder.*.*.cv2.1.**", "model.encoder.*.*.conv2.**"},
    NameRule{"encoder.*.*.cv3.0.**", "model.encoder.*.*.csp_rep2.**"},
    NameRule{"encoder.*.*.cv3.1.**", "model.encoder.*.*.conv3.**"},
    NameRule{"encoder.*.*.cv4.**", "model.encoder.*.*.conv4.**"},
    NameRule{"encoder.feature_projector.**", ""},  // RT-DETRv4's, to its teacher
};

constexpr std::array kDeimv2{
    NameRule{"encoder.encoder.*.layers.*.self_attn.in_proj_weight",
             "model.encoder.aifi.*.layers.*.self_attn.{q_proj,k_proj,v_proj}.weight"},
    NameRule{"encoder.encoder.*.layers.*.self_attn.in_proj_bias",
             "model.encoder.aifi.*.layers.*.self_attn.{q_proj,k_proj,v_proj}.bias"},
    NameRule{"encoder.encoder.*.layers.*.self_attn.out_proj.*", "model.encoder.aifi.*.layers.*.self_attn.o_proj.*"},
    NameRule{"encoder.encoder.*.layers.*.linear1.*", "model.encoder.aifi.*.layers.*.mlp.layers.0.*"},
    NameRule{"encoder.encoder.*.layers.*.linear2.*", "model.encoder.aifi.*.layers.*.mlp.layers.1.*"},
    NameRule{"encoder.encoder.*.layers.*.norm1.*", "model.encoder.aifi.*.layers.*.self_attn_layer_norm.*"},
    NameRule{"encoder.encoder.*.layers.*.norm2.*", "model.encoder.aifi.*.layers.*.final_layer_norm.*"},
    NameRule{"decoder.input_proj.**", "model.decoder_input_proj.**"},
    NameRule{"decoder.decoder.layers.*.self_attn.out_proj.*", "model.decoder.layers.*.self_attn.o_proj.*"},
    NameRule{"decoder.decoder.layers.*.norm1.scale", "model.decoder.layers.*.self_attn_layer_norm.weight"},
    NameRule{"decoder.decoder.layers.*.norm2.scale", "model.decoder.layers.*.encoder_attn_layer_norm.weight"},
    NameRule{"decoder.decoder.layers.*.norm3.scale", "model.decoder.layers.*.final_layer_norm.weight"},
    NameRule{"decoder.decoder.layers.*.gateway.norm.scale", "model.decoder.layers.*.gateway.norm.weight"},
    NameRule{"decoder.decoder.layers.*.swish_ffn.w12.*", "model.decoder.layers.*.mlp.{gate_proj,up_proj}.*"},
    NameRule{"decoder.decoder.layers.*.swish_ffn.w3.*", "model.decoder.layers.*.mlp.down_proj.*"},
    NameRule{"encoder.*.*.cv1.**", "model.encoder.*.*.conv1.**"},  // of fpn_blocks and pan_blocks
    NameRule{"encoder.*.*.cv2.0.**", "model.encoder.*.*.csp_rep1.**"},
    NameRule{"encoder.*.*.cv2.1.**", "model.encoder.*.*.csp_rep1.conv2.**"},
    NameRule{"encoder.*.*.cv3.0.**", "model.encoder.*.*.csp_rep2.**"},
    NameRule{"encoder.*.*.cv3.1.**", "model.encoder.*.*.csp_rep2.conv2.**"},
    NameRule{"encoder.*.*.cv4.**", "model.encoder.*.*.conv2.**"},
};

constexpr std::array kHybridEncoder{NameRule{"encoder.input_proj.**", "model.conv_encoder.encoder_input_proj.**"}};
constexpr std::array kLiteEncoder{
    NameRule{"encoder.input_proj.**", "model.encoder.input_proj.**"},
    NameRule{"encoder.down_sample1.1.*", "model.encoder.down_conv1.conv.*"},
    NameRule{"encoder.down_sample1.2.*", "model.encoder.down_conv1.norm.*"},
    NameRule{"encoder.down_sample2.1.*", "model.encoder.down_conv2.conv.*"},
    NameRule{"encoder.down_sample2.2.*", "model.encoder.down_conv2.norm.*"},
    NameRule{"encoder.bi_fusion.cv.**", "model.encoder.bi_fusion_conv.**"},
    NameRule{"encoder.*.cv1.**", "model.encoder.*.conv1.**"},  // of fpn_block and pan_block
    NameRule{"encoder.*.cv2.0.**", "model.encoder.*.csp_rep1.**"},
    NameRule{"encoder.*.cv2.1.**", "model.encoder.*.csp_rep1.conv2.**"},
    NameRule{"encoder.*.cv3.0.**", "model.encoder.*.csp_rep2.**"},
    NameRule{"encoder.*.cv3.1.**", "model.encoder.*.csp_rep2.conv2.**"},
    NameRule{"encoder.*.cv4.**", "model.encoder.*.conv2.**"},
};

constexpr std::array kTrunk{
    NameRule{"cls_token", "embeddings.cls_token"},
    NameRule{"storage_tokens", "embeddings.register_tokens"},
    NameRule{"mask_token", ""},  // only pretraining masks; transformers' has another shape
    NameRule{"patch_embed.proj.*", "embeddings.patch_embeddings.*"},
    NameRule{"rope_embed.periods", ""},
    NameRule{"blocks.*.attn.qkv.weight", "layer.*.attention.{q_proj,k_proj,v_proj}.weight"},
    NameRule{"blocks.*.attn.qkv.bias_mask", ""},
    NameRule{"blocks.*.attn.proj.*", "layer.*.attention.o_proj.*"},
    NameRule{"blocks.*.ls1.gamma", "layer.*.layer_scale1.lambda1"},
    NameRule{"blocks.*.ls2.gamma", "layer.*.layer_scale2.lambda1"},
    NameRule{"blocks.*.norm1.*", "layer.*.norm1.*"},
    NameRule{"blocks.*.norm2.*", "layer.*.norm2.*"},
    NameRule{"blocks.*.mlp.fc1.*", "layer.*.mlp.up_proj.*"},
    NameRule{"blocks.*.mlp.fc2.*", "layer.*.mlp.down_proj.*"},
    NameRule{"blocks.*.mlp.w1.*", "layer.*.mlp.gate_proj.*"},
    NameRule{"blocks.*.mlp.w2.*", "layer.*.mlp.up_proj.*"},
    NameRule{"blocks.*.mlp.w3.*", "layer.*.mlp.down_proj.*"},
    NameRule{"norm.*", "norm.*"},
};
constexpr std::array kKeysWithBias{NameRule{"blocks.*.attn.qkv.bias", "layer.*.attention.{q_proj,k_proj,v_proj}.bias"}};
constexpr std::array kKeysWithoutBias{NameRule{"blocks.*.attn.qkv.bias", "layer.*.attention.{q_proj,,v_proj}.bias"}};

constexpr std::array kAdapter{
    NameRule{"sta.stem.0.*", "spatial_tuning_adapter.stem_conv.conv.*"},
    NameRule{"sta.stem.1.*", "spatial_tuning_adapter.stem_conv.norm.*"},
    NameRule{"sta.conv2.0.*", "spatial_tuning_adapter.conv2.conv.*"},
    NameRule{"sta.conv2.1.*", "spatial_tuning_adapter.conv2.norm.*"},
    NameRule{"sta.*.1.*", "spatial_tuning_adapter.*.conv.*"},
    NameRule{"sta.*.2.*", "spatial_tuning_adapter.*.norm.*"},
    NameRule{"convs.*.*", "fusion_proj.*.conv.*"},
    NameRule{"norms.*.*", "fusion_proj.*.norm.*"},
};

// Files of training keep these under two names.
bool is_kept_twice(const Checkpoint& checkpoint, std::string_view name) {
  const auto scalar = without("decoder.decoder.", name);
  return scalar && (*scalar == "up" || *scalar == "reg_scale") && checkpoint.find("decoder." + std::string(*scalar));
}

TensorNames shared_names(const Checkpoint& checkpoint, std::string_view name) {
  if (is_kept_twice(checkpoint, name)) return std::vector<std::string>();
  const TensorNames names = rename(kBoth, name);
  return names ? names : rt_detr_names(name);
}

TensorNames trunk_names(const Checkpoint& checkpoint, std::string_view name) {
  const bool has_key_bias = !checkpoint.find("backbone.dinov3.blocks.0.attn.qkv.bias_mask");
  const std::string_view inside = without("_model.", name).value_or(name);
  TensorNames names = has_key_bias ? rename(kKeysWithBias, inside) : rename(kKeysWithoutBias, inside);
  if (!names) names = rename(kTrunk, inside);
  return behind("model.conv_encoder.backbone.", names);
}

}  // namespace

TensorNames d_fine_huggingface_names(const Checkpoint& checkpoint, std::string_view name) {
  if (const auto inside = without("backbone.", name)) return behind("model.backbone.model.", hgnet_v2_names(*inside));
  const TensorNames names = rename(kDFine, name);
  return names ? names : shared_names(checkpoint, name);
}

TensorNames deimv2_huggingface_names(const Checkpoint& checkpoint, std::string_view name) {
  if (const auto inside = without("backbone.dinov3.", name)) return trunk_names(checkpoint, *inside);
  if (const auto inside = without("backbone.", name)) {
    const TensorNames names = rename(kAdapter, *inside);
    return names ? behind("model.conv_encoder.", names) : behind("model.conv_encoder.model.", hgnet_v2_names(*inside));
  }
  const bool is_lite = checkpoint.find("encoder.fpn_block.cv1.conv.weight");
  TensorNames names = rename(kDeimv2, name);
  if (!names) names = is_lite ? rename(kLiteEncoder, name) : rename(kHybridEncoder, name);
  return names ? names : shared_names(checkpoint, name);
}

}  // namespace vistazo
