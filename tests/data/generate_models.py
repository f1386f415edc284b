#!/usr/bin/env python3
"""Small RF-DETR models with stored activations of the PyTorch reference, for tests/models.

Usage: generate_models.py OUT_DIR [case ...]      (torch, transformers 5.17, safetensors)

Writes for each case a folder with
  config.json, preprocessor_config.json, model.safetensors   what a published model has; float16 weights
  io.safetensors   pixel_values (B, 3, H, W; float16, exact), logits, pred_boxes, and the stages before them (float32):
                   trunk_features (B, maps * C, h, w), backbone_features.<level> (B, D, h, w), init_reference_points,
                   last_hidden_state

Weights are random, but large enough that every part of the model changes the outputs. Proposals are chosen by rank, so
an unlucky model would turn rounding into another answer: seeds are tried until the ranks are far apart.
"""
import json
import os
import re
import sys
import warnings
from dataclasses import dataclass
from typing import Callable

import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import RfDetrConfig, RfDetrForInstanceSegmentation, RfDetrForObjectDetection
from transformers.models.rf_detr import modeling_rf_detr as rf_detr

LARGE_STAGES = ("trunk_features", "backbone_features")


@dataclass
class Case:
    """One model and its input. Two proposals of neighbouring rank differ by min_gap standard deviations or more."""

    build: Callable[[], nn.Module]
    input: tuple[int, int]  # height, width
    min_gap: float = 0.06
    keeps_large_stages: bool = True
    has_original_names: bool = True
    min_hidden: int = 0  # so many of the best cells are invalid, too close to the border
    first_seed: int = 0  # where the search begins: the seed that it found once, so that it need not be long
    batch: int = 2


def config(trunk: dict, **decoder) -> RfDetrConfig:
    """A configuration of little width; `trunk` and `decoder` overrule it."""
    small_trunk = dict(model_type="rf_detr_dinov2", hidden_size=32, num_attention_heads=2, num_hidden_layers=4,
                       mlp_ratio=2, out_features=["stage2", "stage4"])
    small = dict(d_model=32, decoder_layers=2, decoder_self_attention_heads=4, decoder_cross_attention_heads=4,
                 decoder_ffn_dim=64, decoder_n_points=2, num_queries=8, group_detr=1, num_labels=5)
    return RfDetrConfig(backbone_config={**small_trunk, **trunk}, **{**small, **decoder})


def w2_original() -> nn.Module:
    """Two windows a side of 3 x 3 patches, the authors' tensor names."""
    return RfDetrForObjectDetection(config(dict(image_size=96, patch_size=16, num_windows=2)))


def w2_huggingface() -> nn.Module:
    """The module's own tensor names, three groups of queries, other activations."""
    return RfDetrForObjectDetection(config(
        dict(image_size=48, patch_size=8, num_windows=2, num_attention_heads=4, mlp_ratio=4, num_hidden_layers=5,
             out_features=["stage1", "stage3", "stage5"]),
        group_detr=3, activation_function="relu", decoder_activation_function="gelu",
        decoder_self_attention_heads=2, decoder_cross_attention_heads=8))


def w1_rect() -> nn.Module:
    """One window, 4 x 7 patches of a model trained at 5 x 5, heads of 12 channels, no bias in query, key and value."""
    return RfDetrForObjectDetection(config(
        dict(image_size=60, patch_size=12, num_windows=1, hidden_size=36, num_attention_heads=3, qkv_bias=False,
             num_hidden_layers=5, out_features=["stage1", "stage3", "stage4", "stage5"]),
        d_model=40, decoder_self_attention_heads=2, decoder_cross_attention_heads=5, c2f_num_blocks=2))


def w4_p14() -> nn.Module:
    """Four windows a side, stages that end before the last layer, epsilons of its own, 91 classes with names."""
    names = {i: f"thing {i}" for i in range(91)}
    return RfDetrForObjectDetection(config(
        dict(image_size=112, patch_size=14, num_windows=4, hidden_size=24, num_attention_heads=1, num_hidden_layers=5,
             out_features=["stage2", "stage4"], layer_norm_eps=1e-3),
        decoder_layers=3, decoder_n_points=4, layer_norm_eps=1e-3, num_labels=91, id2label=names,
        label2id={name: i for i, name in names.items()}, c2f_num_blocks=1, hidden_expansion=0.75))


def border() -> nn.Module:
    """52 x 52 patches of a model trained at 26 x 26: the cells at the border lie beyond the margin of proposals."""
    return RfDetrForObjectDetection(config(
        dict(image_size=52, patch_size=2, num_windows=1), num_queries=5, c2f_num_blocks=1))


def seg() -> nn.Module:
    """A detector with a mask head."""
    return RfDetrForInstanceSegmentation(config(
        dict(image_size=32, patch_size=8, num_windows=2), num_queries=6, c2f_num_blocks=1, intermediate_size=64))


def p3p5() -> nn.Module:
    """Levels of twice and half the trunk's resolution, which transformers lacks: LevelProjector and run_levels()."""
    c = config(dict(image_size=48, patch_size=8, num_windows=1), num_feature_levels=2)
    c.projector_scale_factors = [2.0, 0.5]
    model = RfDetrForObjectDetection(c)
    model.model.backbone.projector = LevelProjector(c)
    return model


CASES = {
    "w2_original": Case(w2_original, (96, 96), first_seed=125),
    "w2_huggingface": Case(w2_huggingface, (48, 48), first_seed=1055, has_original_names=False),
    "w1_rect": Case(w1_rect, (48, 84), first_seed=92),
    "w4_p14": Case(w4_p14, (112, 112), first_seed=875),
    "border": Case(border, (104, 104), first_seed=20, keeps_large_stages=False, min_hidden=1, min_gap=0.02),
    "seg": Case(seg, (32, 32)),
    "seg_huggingface": Case(seg, (32, 32), has_original_names=False),
    "p3p5": Case(p3p5, (48, 40), first_seed=1022),
}


class LevelProjector(nn.Module):
    """The projector with several levels, its modules named as the authors name theirs."""

    def __init__(self, c: RfDetrConfig):
        super().__init__()
        dim, maps = c.backbone_config.hidden_size, len(c.backbone_config.out_indices)
        self.stages_sampling, self.stages = nn.ModuleList(), nn.ModuleList()
        for scale in c.projector_scale_factors:
            samplers = {2.0: lambda: nn.ConvTranspose2d(dim, dim // 2, kernel_size=2, stride=2),
                        0.5: lambda: rf_detr.RfDetrConvNormLayer(c, dim, dim, 3, 2, activation="relu")}
            self.stages_sampling.append(nn.ModuleList(nn.Sequential(samplers[scale]()) for _ in range(maps)))
            width = maps * (dim // 2 if scale == 2.0 else dim)
            self.stages.append(nn.Sequential(rf_detr.RfDetrC2FLayer(c, width),
                                             rf_detr.RfDetrLayerNorm(c.d_model, data_format="channels_first")))

    def forward(self, maps: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
        """Feature maps of the trunk -> a feature map for each level."""
        return [stage(torch.cat([sampler(x) for sampler, x in zip(samplers, maps)], dim=1))
                for samplers, stage in zip(self.stages_sampling, self.stages)]


def detector_of(model: nn.Module) -> RfDetrForObjectDetection:
    """The detector inside a model with a mask head, else the model itself."""
    return model.model if isinstance(model, RfDetrForInstanceSegmentation) else model


def proposals_of(detector: RfDetrForObjectDetection, levels: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """Levels (B, D, h, w) -> memory (B, N, D), anchors (B, N, 4), scores of all cells (B, N), valid cells (B, N)."""
    core = detector.model
    memory = torch.cat([level.flatten(2).transpose(1, 2) for level in levels], dim=1)
    _, anchors, invalid = core.gen_encoder_output_proposals(
        memory, torch.zeros(memory.shape[:2], dtype=torch.bool), [level.shape[2:] for level in levels])
    scores = core.enc_out_class_embed[0](core.enc_output_norm[0](core.enc_output[0](memory))).max(-1)[0]
    return memory, anchors, scores, ~invalid.squeeze(-1)


def run_levels(detector: RfDetrForObjectDetection, levels: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    """What RfDetrForObjectDetection.forward() does behind the projector, for any number of levels."""
    core = detector.model
    memory, anchors, scores, valid = proposals_of(detector, levels)
    chosen = scores.masked_fill(~valid, float("-inf")).topk(core.num_queries, dim=1)[1]
    objects = core.enc_output_norm[0](core.enc_output[0](memory))
    boxes = rf_detr.refine_bboxes(anchors, core.enc_out_bbox_embed[0](objects))
    boxes = boxes.gather(1, chosen.unsqueeze(-1).expand(-1, -1, 4))
    batch, count = len(memory), core.num_queries
    references = rf_detr.refine_bboxes(boxes, core.reference_point_embed.weight[:count].expand(batch, -1, -1))
    sizes = [tuple(level.shape[2:]) for level in levels]
    areas = torch.tensor([height * width for height, width in sizes])
    hidden = core.decoder(
        inputs_embeds=core.query_feat.weight[:count].expand(batch, -1, -1), reference_points=references,
        spatial_shapes=torch.tensor(sizes), spatial_shapes_list=sizes, level_start_index=areas.cumsum(0) - areas,
        valid_ratios=memory.new_ones(batch, len(levels), 2), encoder_hidden_states=memory,
        encoder_attention_mask=torch.ones(memory.shape[:2], dtype=torch.bool)).last_hidden_state
    return {"logits": detector.class_embed(hidden),
            "pred_boxes": rf_detr.refine_bboxes(references, detector.bbox_embed(hidden)),
            "init_reference_points": references, "last_hidden_state": hidden}


@torch.no_grad()
def run(model: nn.Module, pixels: torch.Tensor) -> tuple[dict[str, torch.Tensor], list[torch.Tensor]]:
    """-> outputs and stages by name, and the projector's levels."""
    seen, detector = {}, detector_of(model)
    encoder = detector.model.backbone
    hooks = [encoder.backbone.register_forward_hook(lambda m, i, o: seen.update(maps=o.feature_maps)),
             encoder.projector.register_forward_hook(lambda m, i, o: seen.update(levels=o))]
    if isinstance(encoder.projector, LevelProjector):
        results = run_levels(detector, encoder.projector(encoder.backbone(pixels).feature_maps))
        levels = seen["levels"]
    else:
        outputs = model(pixel_values=pixels)
        names = ("logits", "pred_boxes", "init_reference_points", "last_hidden_state")
        results, levels = {name: getattr(outputs, name) for name in names}, [seen["levels"]]
        # The composition for several levels must be the reference's where there is one.
        for name, value in run_levels(detector, levels).items():
            torch.testing.assert_close(value, results[name], rtol=1e-4, atol=1e-5)
    for hook in hooks:
        hook.remove()
    results["trunk_features"] = torch.cat(seen["maps"], dim=1)
    results.update({f"backbone_features.{i}": level for i, level in enumerate(levels)})
    return results, levels


@torch.no_grad()
def randomize(model: nn.Module, seed: int) -> None:
    """Weights of unit gain, biases and scales off their neutral values; all of them float16 numbers."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if name.endswith(("position_embeddings", "cls_token", "query_feat.weight")):
            parameter.copy_(0.5 * noise)
        elif name.endswith("reference_point_embed.weight"):
            parameter.copy_(0.3 * noise)
        elif re.search(r"bbox_embed\.(\d+\.)?layers\.2\.weight", name):  # its exponential makes the sides of boxes
            parameter.copy_(0.4 * noise * parameter[0].numel() ** -0.5)
        elif parameter.ndim >= 2:
            parameter.copy_(noise * parameter[0].numel() ** -0.5)
        else:
            is_scale = name.endswith(("weight", "lambda1"))  # of a norm or of a layer's output
            parameter.copy_(0.1 * noise + is_scale)
        parameter.copy_(parameter.half().float())


@torch.no_grad()
def smallest_gap(model: nn.Module, levels: list[torch.Tensor]) -> float:
    """Between neighbours in rank from the first proposal to the first rejected one, in standard deviations."""
    detector = detector_of(model)
    _, _, scores, valid = proposals_of(detector, levels)
    best = scores.masked_fill(~valid, float("-inf")).topk(detector.model.num_queries + 1, dim=1)[0]
    return ((best[:, :-1] - best[:, 1:]).min() / scores[valid].std()).item()


@torch.no_grad()
def hidden_cells(model: nn.Module, levels: list[torch.Tensor]) -> int:
    """How many invalid cells would be chosen if they were not left out."""
    detector = detector_of(model)
    _, _, scores, valid = proposals_of(detector, levels)
    chosen = scores.topk(detector.model.num_queries, dim=1)[1]
    return int((~valid).gather(1, chosen).sum())


def robust_model(case: Case, seeds: int = 5000) -> tuple[nn.Module, torch.Tensor, int]:
    """-> the first model and input in the order of seeds whose proposals are chosen by a clear margin."""
    model = case.build().eval().float()
    for seed in range(case.first_seed, seeds):
        randomize(model, seed)
        generator = torch.Generator().manual_seed(seed + 1_000_000)
        pixels = torch.randn(case.batch, 3, *case.input, generator=generator).half().float()
        with torch.no_grad():
            encoder = detector_of(model).model.backbone
            levels = encoder.projector(encoder.backbone(pixels).feature_maps)
        levels = levels if isinstance(levels, list) else [levels]
        if smallest_gap(model, levels) >= case.min_gap and hidden_cells(model, levels) >= case.min_hidden:
            return model, pixels, seed
    raise RuntimeError(f"no seed below {seeds} chooses its proposals by a clear margin")


def relative_error(value: torch.Tensor, reference: torch.Tensor) -> float:
    return ((value.double() - reference).norm() / reference.norm()).item()


def check(name: str, case: Case, model: nn.Module, pixels: torch.Tensor, seed: int) -> dict[str, torch.Tensor]:
    """Asserts that the model makes a good test, prints why. -> the float32 outputs and stages"""
    results, levels = run(model, pixels)
    exact, exact_levels = run(model.double(), pixels.double())
    model.float()
    errors = {key: relative_error(results[key], exact[key]) for key in results}
    worst = max(errors, key=errors.get)
    logits_std, boxes_std = results["logits"].std().item(), results["pred_boxes"].std().item()
    gap, hidden = smallest_gap(model, levels), hidden_cells(model, levels)
    print(f"{name}: seed {seed}, worst float32 error {errors[worst]:.1e} ({worst}), std of logits {logits_std:.3f}, "
          f"of boxes {boxes_std:.3f}, gap {gap:.3f}, invalid cells among the best {hidden}")
    count = detector_of(model).model.num_queries

    def ranks(levels: list[torch.Tensor]) -> torch.Tensor:
        _, _, scores, valid = proposals_of(detector_of(model).to(levels[0].dtype), levels)
        return scores.masked_fill(~valid, float("-inf")).topk(count + 1, dim=1)[1]

    with torch.no_grad():
        assert torch.equal(ranks(exact_levels), ranks([level.float() for level in levels])), name
    assert errors[worst] < 1e-5 and logits_std > 0.05 and boxes_std > 0.05, name
    assert all(value.isfinite().all() for value in results.values()), name
    return results


def rename_projector(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The parts of a LevelProjector that transformers does not rename when it saves."""
    table = [(r"\.conv1\.", ".cv1."), (r"\.conv2\.", ".cv2."), (r"\.bottlenecks\.", ".m."), (r"\.norm\.", ".bn.")]
    renamed = {}
    for name, tensor in tensors.items():
        if ".projector." in name:
            for pattern, text in table:
                name = re.sub(pattern, text, name)
        renamed[name] = tensor
    return renamed


def save(folder: str, case: Case, model: nn.Module, pixels: torch.Tensor, results: dict[str, torch.Tensor]) -> None:
    """Writes the folder of a case and prints its size."""
    os.makedirs(folder, exist_ok=True)
    model.config.architectures = [type(model).__name__]
    weights = os.path.join(folder, "model.safetensors")
    model.half()
    if case.has_original_names:
        model.save_pretrained(folder)  # also writes config.json
        save_file(rename_projector(load_file(weights)), weights, metadata={"format": "pt"})
    else:
        model.config.save_pretrained(folder)
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, weights, metadata={"format": "pt"})
    kept = {name: value.float().contiguous() for name, value in results.items()
            if case.keeps_large_stages or not name.startswith(LARGE_STAGES)}
    save_file({"pixel_values": pixels.half(), **kept}, os.path.join(folder, "io.safetensors"))
    height, width = case.input
    preprocessing = {"do_normalize": True, "do_rescale": True, "do_resize": True,
                     "image_mean": [0.485, 0.456, 0.406], "image_processor_type": "RfDetrImageProcessor",
                     "image_std": [0.229, 0.224, 0.225], "resample": 2, "rescale_factor": 1 / 255,
                     "size": {"height": height, "width": width}}
    with open(os.path.join(folder, "preprocessor_config.json"), "w") as file:
        json.dump(preprocessing, file, indent=1)
        file.write("\n")
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
        results = check(name, case, model, pixels, seed)
        save(os.path.join(sys.argv[1], name), case, model, pixels, results)


if __name__ == "__main__":
    main()
