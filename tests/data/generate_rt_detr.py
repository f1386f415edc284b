#!/usr/bin/env python3
"""Small RT-DETR and RT-DETRv2 models with stored outputs of the PyTorch reference, for tests/models.

Usage: generate_rt_detr.py OUT_DIR [case ...]      (torch, transformers 5.17, safetensors)

Writes for each case a folder with
  config.json, model.safetensors   what a published model has; float16 weights
  io.safetensors   pixel_values (B, 3, H, W; float16, exact), logits, pred_boxes (float32)

Weights are random. Proposals are chosen by rank, so an unlucky model would turn rounding into another answer: seeds are
tried until the ranks are far apart.
"""
import json
import os
import re
import sys
import warnings
from dataclasses import dataclass, field

import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (HGNetV2Config, RTDetrConfig, RTDetrForObjectDetection, RTDetrResNetConfig, RTDetrV2Config,
                          RTDetrV2ForObjectDetection)

RESNET18 = RTDetrResNetConfig(embedding_size=16, hidden_sizes=[16, 24, 32, 40], depths=[2, 1, 2, 1], layer_type="basic",
                              out_indices=[2, 3, 4])
RESNET50 = RTDetrResNetConfig(embedding_size=8, hidden_sizes=[32, 48, 64, 96], depths=[1, 2, 1, 1],
                              layer_type="bottleneck", out_indices=[2, 3, 4])


def hgnet(affine: bool) -> HGNetV2Config:
    """Plain and light stages, one, two and three blocks."""
    return HGNetV2Config(stem_channels=[3, 8, 8], stage_in_channels=[8, 16, 32, 40], stage_mid_channels=[8, 8, 12, 16],
                         stage_out_channels=[16, 32, 40, 48], stage_num_blocks=[1, 2, 3, 1],
                         stage_light_block=[False, False, True, True], stage_kernel_size=[3, 3, 5, 5],
                         stage_numb_of_layers=[2, 2, 2, 3], depths=[1, 1, 1, 1], hidden_sizes=[16, 32, 40, 48],
                         use_learnable_affine_block=affine, out_indices=[2, 3, 4])


@dataclass
class Case:
    """One model and its input. Two proposals of neighbouring rank differ by min_gap standard deviations or more."""

    backbone: object
    encoder_in: list[int]
    input: tuple[int, int]  # height, width
    is_v2: bool = False
    options: dict = field(default_factory=dict)
    has_original_names: bool = False
    wants_invalid: bool = False  # cells of invalid anchors are among the chosen ones
    min_gap: float = 0.03
    first_seed: int = 0  # where the search begins: the seed that it found once

    def build(self) -> nn.Module:
        common = dict(backbone_config=self.backbone, encoder_in_channels=self.encoder_in, encoder_hidden_dim=32,
                      encoder_attention_heads=4, encoder_ffn_dim=48, d_model=32, decoder_attention_heads=4,
                      decoder_ffn_dim=64, decoder_in_channels=[32, 32, 32], decoder_layers=2, num_queries=12,
                      num_labels=5, num_denoising=2)
        common |= self.options
        if self.is_v2:
            return RTDetrV2ForObjectDetection(RTDetrV2Config(**common))
        return RTDetrForObjectDetection(RTDetrConfig(**common))


CASES = {
    # A finest map of 52 columns, whose first and last are too close to the edge for an anchor.
    "r18_original": Case(RESNET18, [24, 32, 40], (32, 416), has_original_names=True, wants_invalid=True,
                         options=dict(hidden_expansion=0.5, decoder_layers=3)),
    "r50": Case(RESNET50, [48, 64, 96], (64, 96)),
    "hgnet_affine": Case(hgnet(True), [32, 40, 48], (96, 64), options=dict(encoder_layers=2)),
    "v2_hgnet_original": Case(hgnet(False), [32, 40, 48], (64, 64), is_v2=True, has_original_names=True,
                              options=dict(decoder_offset_scale=0.25, learn_initial_query=True)),
    "v2_discrete": Case(RESNET18, [24, 32, 40], (64, 96), is_v2=True, options=dict(decoder_method="discrete")),
}


# transformers 5.17 calls tile() on the embedding instead of its weight, as the authors' code does.
nn.Embedding.tile = lambda self, repeats: self.weight[None].tile(repeats)


@torch.no_grad()
def randomize(model: nn.Module, seed: int) -> None:
    """Weights of the size that keeps activations near one, rounded to float16."""
    generator = torch.Generator().manual_seed(seed)

    def normal(tensor: torch.Tensor, mean: float, deviation: float) -> None:
        tensor.copy_((mean + deviation * torch.randn(tensor.shape, generator=generator)).half().float())

    tensors = list(model.named_parameters()) + list(model.named_buffers())
    for name, tensor in tensors:
        if name.endswith(("num_batches_tracked", "n_points_scale")):
            continue
        if name.endswith("running_var"):
            tensor.copy_((0.5 + torch.rand(tensor.shape, generator=generator)).half().float())
        elif name.endswith("sampling_offsets.bias"):
            normal(tensor, 0.0, 1.5)
        elif tensor.dim() > 1:
            normal(tensor, 0.0, (1.6 / tensor[0].numel()) ** 0.5)
        elif name.endswith(("bias", "running_mean")):
            normal(tensor, 0.0, 0.2)
        else:
            normal(tensor, 1.0, 0.1)


@torch.no_grad()
def run(model: nn.Module, pixels: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """-> outputs, and every cell's best score (B, N)"""
    output = model(pixel_values=pixels)
    return {"logits": output.logits, "pred_boxes": output.pred_boxes}, output.enc_outputs_class.max(-1).values


def invalid_cells(case: Case, strides: tuple[int, ...]) -> torch.Tensor:
    """Of all levels: those whose centre is within 1 % of the edge."""
    masks = []
    for stride in strides:
        height, width = case.input[0] // stride, case.input[1] // stride
        y, x = (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width
        inside = ((y > 0.01) & (y < 0.99))[:, None] & ((x > 0.01) & (x < 0.99))[None]
        masks.append(~inside.flatten())
    return torch.cat(masks)


def is_robust(case: Case, scores: torch.Tensor, queries: int, strides: tuple[int, ...] = (8, 16, 32)) -> bool:
    """Whether rounding cannot change which cells are chosen, nor their order. Invalid cells are all alike, so that they
    may change places with each other, but all of them must be chosen, or none."""
    invalid = invalid_cells(case, strides)
    for row in scores:
        ranked, index = row.sort(descending=True)
        gaps = (ranked[:queries] - ranked[1:queries + 1]) / row.std()
        alike = invalid[index[:queries]] & invalid[index[1:queries + 1]]
        if gaps[~alike].min() < case.min_gap or alike[-1]:
            return False
        if case.wants_invalid and not invalid[index[:queries]].any():
            return False
    return True


def robust_model(case: Case, seeds: int = 20000) -> tuple[nn.Module, torch.Tensor, int]:
    model = case.build().eval().float()
    for seed in range(case.first_seed, seeds):
        randomize(model, seed)
        generator = torch.Generator().manual_seed(seed + 1_000_000)
        pixels = torch.randn(2, 3, *case.input, generator=generator).half().float()
        results, scores = run(model, pixels)
        spread = all(value.std() > 0.05 and value.std(dim=1).mean() > 0.02 for value in results.values())
        if spread and is_robust(case, scores, model.config.num_queries):
            return model, pixels, seed
    raise RuntimeError(f"no seed below {seeds} chooses its proposals by a clear margin")


def original_names(tensors: dict[str, torch.Tensor], is_v2: bool) -> dict[str, torch.Tensor]:
    """The names of the authors' code for those that transformers saves."""
    rules = [
        (r"^model\.backbone\.model\.embedder\.embedder\.(\d)\.", lambda m: f"backbone.conv1.conv1_{int(m[1]) + 1}."),
        (r"^model\.backbone\.model\.embedder\.", "backbone.stem."),
        (r"^model\.backbone\.model\.encoder\.stages\.(\d+)\.layers\.(\d+)\.layer\.(\d)\.",
         lambda m: f"backbone.res_layers.{m[1]}.blocks.{m[2]}.branch2{'abc'[int(m[3])]}."),
        (r"^model\.backbone\.model\.encoder\.stages\.(\d+)\.layers\.(\d+)\.shortcut\.1\.",
         r"backbone.res_layers.\1.blocks.\2.short.conv."),
        (r"^model\.backbone\.model\.encoder\.stages\.(\d+)\.layers\.(\d+)\.shortcut\.",
         r"backbone.res_layers.\1.blocks.\2.short."),
        (r"^model\.backbone\.model\.encoder\.", "backbone."),
        (r"^(backbone\.(?:stem|stages).*)\.convolution\.", r"\1.conv."),
        (r"^(backbone\.(?:stem|stages).*)\.normalization\.", r"\1.bn."),
        (r"^(backbone\..*)\.convolution\.", r"\1.conv."),
        (r"^(backbone\..*)\.normalization\.", r"\1.norm."),
        (r"^model\.encoder_input_proj\.(\d)\.0\.", r"encoder.input_proj.\1.conv." if is_v2 else r"encoder.input_proj.\1.0."),
        (r"^model\.encoder_input_proj\.(\d)\.1\.", r"encoder.input_proj.\1.norm." if is_v2 else r"encoder.input_proj.\1.1."),
        (r"^model\.decoder_input_proj\.(\d)\.0\.", r"decoder.input_proj.\1.conv."),
        (r"^model\.decoder_input_proj\.(\d)\.1\.", r"decoder.input_proj.\1.norm."),
        (r"^model\.decoder\.layers\.", "decoder.decoder.layers."),
        (r"^model\.decoder\.class_embed\.", "decoder.dec_score_head."),
        (r"^model\.decoder\.bbox_embed\.", "decoder.dec_bbox_head."),
        (r"^model\.decoder\.", "decoder."),
        (r"^model\.encoder\.", "encoder."),
        (r"^model\.weight_embedding\.", "decoder.tgt_embed."),
        (r"^model\.", "decoder."),
        (r"^decoder\.enc_output\.0\.", "decoder.enc_output.proj." if is_v2 else "decoder.enc_output.0."),
        (r"^decoder\.enc_output\.1\.", "decoder.enc_output.norm." if is_v2 else "decoder.enc_output.1."),
        (r"\.encoder_attn\.", ".cross_attn."),
        (r"\.n_points_scale$", ".num_points_scale"),
        (r"^(decoder.*)\.self_attn_layer_norm\.", r"\1.norm1."),
        (r"^(decoder.*)\.encoder_attn_layer_norm\.", r"\1.norm2."),
        (r"^(decoder.*)\.final_layer_norm\.", r"\1.norm3."),
        (r"^(encoder.*)\.self_attn_layer_norm\.", r"\1.norm1."),
        (r"^(encoder.*)\.final_layer_norm\.", r"\1.norm2."),
        (r"\.fc(\d)\.", r".linear\1."),
    ]
    renamed = {}
    for name, tensor in tensors.items():
        for pattern, text in rules:
            name = re.sub(pattern, text, name)
        renamed[name] = tensor
    for name in [name for name in renamed if name.endswith("self_attn.q_proj.weight")]:
        prefix = name.removesuffix("q_proj.weight")
        for kind in ("weight", "bias"):
            parts = [renamed.pop(f"{prefix}{part}_proj.{kind}") for part in "qkv"]
            renamed[f"{prefix}in_proj_{kind}"] = torch.cat(parts)
    return renamed


def save(folder: str, case: Case, model: nn.Module, pixels: torch.Tensor, results: dict[str, torch.Tensor]) -> None:
    os.makedirs(folder, exist_ok=True)
    weights = os.path.join(folder, "model.safetensors")
    model.config.architectures = [type(model).__name__]
    model.half().save_pretrained(folder)
    if case.has_original_names:
        save_file(original_names(load_file(weights), case.is_v2), weights, metadata={"format": "pt"})
    kept = {name: value.float().contiguous() for name, value in results.items()}
    save_file({"pixel_values": pixels.half(), **kept}, os.path.join(folder, "io.safetensors"))
    sizes = {name: os.path.getsize(os.path.join(folder, name)) // 1024 for name in sorted(os.listdir(folder))}
    print(f"  {sum(sizes.values())} KiB: {sizes}")


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    for name in sys.argv[2:] or CASES:
        case = CASES[name]
        model, pixels, seed = robust_model(case)
        results, _ = run(model, pixels)
        exact, _ = run(model.double(), pixels.double())
        model.float()
        worst = max(((results[key] - exact[key]).norm() / exact[key].norm()).item() for key in results)
        print(f"{name}: seed {seed}, worst float32 error {worst:.1e}")
        assert worst < 1e-5, name
        save(os.path.join(sys.argv[1], name), case, model, pixels, results)


if __name__ == "__main__":
    main()
