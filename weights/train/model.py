"""The detector: Hugging Face's RF-DETR with a small plain ViT, built from nothing, averaged, written as a folder."""

import copy
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transformers import RfDetrConfig, RfDetrForObjectDetection, RfDetrImageProcessor

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)
PER_GROUP = ("enc_output", "enc_output_norm", "enc_out_bbox_embed", "enc_out_class_embed")  # a module a query group
PRIOR_LOGIT = -4.0  # scores start near 0.02: nearly every query is background


def build_model(options, names):
    """A fresh RfDetrForObjectDetection for these command-line options and class names, with random weights."""
    stage = options.layers // 4
    config = RfDetrConfig(
        backbone_config={
            "model_type": "rf_detr_dinov2",
            "hidden_size": options.hidden,
            "num_attention_heads": options.heads,
            "num_hidden_layers": options.layers,
            "image_size": options.size,
            "patch_size": 16,
            "num_windows": options.windows,
            "out_features": [f"stage{stage * quarter}" for quarter in (1, 2, 3, 4)],
            "drop_path_rate": options.drop_path,
        },
        decoder_layers=options.decoder_layers,
        decoder_n_points=2,
        decoder_ffn_dim=options.decoder_ffn,
        c2f_num_blocks=options.c2f_blocks,
        num_queries=options.queries,
        group_detr=options.groups,
        dropout=0.0,
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
    )
    model = RfDetrForObjectDetection(config)
    with torch.no_grad():
        for head in (model.class_embed, *model.model.enc_out_class_embed):
            head.bias.fill_(PRIOR_LOGIT)
    return model


def normalise(images):
    """(B, 3, S, S) in [0, 1] -> what the network reads."""
    mean = torch.tensor(IMAGE_MEAN, device=images.device).view(1, 3, 1, 1)
    std = torch.tensor(IMAGE_STD, device=images.device).view(1, 3, 1, 1)
    return (images - mean) / std


def training_outputs(model, images):
    """Run the model in training mode: logits (L, B, G, Q, C) and boxes (L, B, G, Q, 4), cxcywh, float32.

    L: each decoder layer, then the encoder's proposals. G: the groups of Q queries that share one decoder.
    """
    groups, queries = model.config.group_detr, model.config.num_queries
    outputs = model.model(pixel_values=normalise(images))
    logits, boxes = model.predict_class_and_boxes(
        outputs.intermediate_hidden_states, outputs.intermediate_reference_points[-1]
    )
    proposal_logits = model.predict_encoder_class_logits(outputs.enc_outputs_class)
    logits = torch.cat([logits.float(), proposal_logits.float()[None]])
    boxes = torch.cat([boxes.float(), outputs.enc_outputs_coord_logits.float()[None]])
    return logits.unflatten(2, (groups, queries)), boxes.unflatten(2, (groups, queries))


class MovingAverage:
    """An exponential moving average of a model's weights, kept as a second model (`.model`, always in eval mode)."""

    def __init__(self, model, decay):
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self.steps = 0
        pairs = list(zip(self.model.state_dict().values(), model.state_dict().values()))
        self.averaged, self.current = zip(*[(a, b) for a, b in pairs if a.is_floating_point()])

    @torch.no_grad()
    def update(self):
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (20 + self.steps))
        torch._foreach_lerp_(self.averaged, self.current, 1 - decay)


def save_folder(model, folder):
    """Write model.safetensors (float16), config.json and preprocessor_config.json.

    Inference uses query group 0 alone, so the others' weights are left out and the config says one group.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    queries = model.config.num_queries
    weights = {}
    for name, value in model.state_dict().items():
        if belongs_to_later_group(name):
            continue
        if name.endswith(("reference_point_embed.weight", "query_feat.weight")):
            value = value[:queries]
        weights[name] = (value.half() if value.is_floating_point() else value).contiguous().cpu()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    config = copy.deepcopy(model.config)
    config.group_detr = 1
    config.backbone_config.drop_path_rate = 0.0
    config.architectures = ["RfDetrForObjectDetection"]
    (folder / "config.json").write_text(json.dumps(config.to_dict(), indent=1) + "\n")

    size = config.backbone_config.image_size
    processor = RfDetrImageProcessor(size={"height": size, "width": size})
    settings = json.loads(processor.to_json_string())
    (folder / "preprocessor_config.json").write_text(json.dumps(settings, indent=1) + "\n")


@torch.no_grad()
def start_from(model, folder):
    """Copy the weights that `save_folder` wrote into `model`; every query group starts from the saved one.

    The later groups' queries are moved a little, or all groups would learn the same. Position embeddings are resized
    where the model's input has another size.
    """
    stored = load_file(Path(folder) / "model.safetensors")
    queries = model.config.num_queries
    for name, value in model.state_dict().items():
        source = stored[first_group_name(name)].to(value)
        if name.endswith(("reference_point_embed.weight", "query_feat.weight")):
            for start in range(0, len(value), queries):
                noise = 0.0 if start == 0 else 0.02 * torch.randn_like(source)
                value[start : start + queries] = source + noise
        elif name.endswith("position_embeddings"):
            value.copy_(resized_positions(source, value.shape[1]))
        else:
            value.copy_(source)


def resized_positions(positions, count):
    """(1, 1 + side^2, C), the class token's first, with `count` positions in all."""
    side, new_side = (round((n - 1) ** 0.5) for n in (positions.shape[1], count))
    if side == new_side:
        return positions
    grid = positions[:, 1:].unflatten(1, (side, side)).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, (new_side, new_side), mode="bicubic", align_corners=False, antialias=new_side < side)
    return torch.cat([positions[:, :1], grid.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)


def first_group_name(name):
    """enc_output.0.weight for enc_output.2.weight."""
    parts = name.split(".")
    return ".".join("0" if index > 0 and parts[index - 1] in PER_GROUP else part for index, part in enumerate(parts))


def belongs_to_later_group(name):
    """Whether a weight's name has a group number other than 0: enc_output.2.weight, for example."""
    parts = name.split(".")
    return any(part in PER_GROUP and parts[index + 1] != "0" for index, part in enumerate(parts))


def load_folder(folder, device):
    """What `save_folder` wrote, in float32 and eval mode."""
    return RfDetrForObjectDetection.from_pretrained(folder, dtype=torch.float32).to(device).eval()
