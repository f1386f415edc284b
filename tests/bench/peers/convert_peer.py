#!/usr/bin/env python3
"""What `vistazo convert` writes, loaded by transformers 5.17 itself.

    convert_peer.py MODEL[=ARCH] ... [--vistazo PATH]     (torch, transformers 5.17, safetensors, scipy)

MODEL is anything that vistazo loads: a folder, a .pth or a .safetensors file. Each is converted to f32, f16 and bf16.
transformers must know every tensor of the folder and miss none but those that the authors' own graph lacks. In f32,
transformers' answers are compared with vistazo's where both compute the same graph (config.json says where not), the
folder must give vistazo the bits of its source, and convert to itself.
"""
import argparse
import fnmatch
import json
import os
import subprocess
import sys
import tempfile
import warnings

import torch
import transformers
from safetensors.torch import load_file, save_file
from scipy.optimize import linear_sum_assignment
from transformers import AutoModelForObjectDetection

TOLERANCE = 1e-4
# Keys of config.json that are vistazo's own: DEIM's and DEIMv2's graphs, which transformers does not have, and layers
# that only training asks, which transformers runs too.
OWN_GRAPH = {"head_activation_function": "relu", "use_encoder_output": True, "fixed_query_positions": False}
# What transformers' DEIMv2 has and its authors' files lack.
LACKING = {"deimv2": ["model.enc_output.*", "*.mask_token", "*.layer_scale?.lambda1", "*.register_tokens",
                      "model.conv_encoder.backbone.norm.*"]}


def run(binary: str, *arguments: str) -> None:
    child = subprocess.run([binary, *arguments], capture_output=True, text=True)
    if child.returncode:
        sys.exit(f"vistazo {' '.join(arguments)}: {child.stderr.strip()}")


def forward(binary: str, model: str, arch: str, pixels: str, folder: str) -> dict[str, torch.Tensor]:
    output = os.path.join(folder, "answers.safetensors")
    named = ["--arch", arch] if arch else []
    run(binary, "forward", "--model", model, *named, "--device", "cpu", "--precision", "f32", "--input", pixels,
        "--output", output)
    return load_file(output)


def is_transformers_graph(config: dict) -> bool:
    last = config.get("eval_idx", -1)
    return all(config.get(key, value) == value for key, value in OWN_GRAPH.items()) and (
        last == -1 or last == config.get("decoder_layers", 6) - 1 or config["model_type"] in ("d_fine", "deimv2"))


def difference(found: dict, wanted: dict) -> float:
    """The larger of the relative norms, with rows in the order of those they are nearest to."""
    worst = 0.0
    for image in range(wanted["logits"].shape[0]):
        rows = [torch.cat([a["logits"][image], a["pred_boxes"][image]], dim=-1).double() for a in (wanted, found)]
        _, order = linear_sum_assignment(torch.cdist(*rows).numpy())
        for name in ("logits", "pred_boxes"):
            a, b = found[name][image][order].double(), wanted[name][image].double()
            worst = max(worst, ((a - b).norm() / b.norm()).item())
    return worst


def load_in_transformers(folder: str, dtype: torch.dtype) -> tuple[torch.nn.Module, list[str]]:
    """-> the model, and what is wrong with the folder."""
    model, info = AutoModelForObjectDetection.from_pretrained(folder, output_loading_info=True, dtype=dtype)
    lacking = LACKING.get(model.config.model_type, [])
    missing = [key for key in info["missing_keys"] if not any(fnmatch.fnmatch(key, p) for p in lacking)]
    wrong = [f"missing {key}" for key in missing] + [f"unexpected {key}" for key in info["unexpected_keys"]]
    wrong += [f"misshapen {key}" for key in info["mismatched_keys"]]
    return model.eval(), wrong


def restore_scales(model: torch.nn.Module) -> None:
    """1 / points, which transformers reads from the file: in a source of 16 bits it is rounded, in vistazo it is not."""
    for module in model.modules():
        for name in ("num_points_scale", "n_points_scale"):
            if hasattr(module, name):
                scale = getattr(module, name)
                scale.copy_(1 / (1 / scale).round())


def pixels_for(model: str, folder: str, config: dict) -> str:
    stored = os.path.join(model, "io.safetensors")
    if os.path.exists(stored):
        return stored
    with open(os.path.join(folder, "preprocessor_config.json")) as file:
        size = json.load(file)["size"]
    path = os.path.join(folder, "pixels.safetensors")
    save_file({"pixel_values": torch.rand(1, 3, size["height"], size["width"],
                                          generator=torch.Generator().manual_seed(1))}, path)
    return path


def check(binary: str, model: str, arch: str, folder: str) -> list[str]:
    named = ["--arch", arch] if arch else []
    wrong = []
    for name, dtype in (("f16", torch.float16), ("bf16", torch.bfloat16), ("f32", torch.float32)):
        target = os.path.join(folder, name)
        run(binary, "convert", model, target, *named, "--dtype", name)
        loaded, found = load_in_transformers(target, dtype)
        wrong += [f"{name}: {text}" for text in found]
    target = os.path.join(folder, "f32")
    again = os.path.join(folder, "again")
    run(binary, "convert", target, again, "--dtype", "f32")
    with open(os.path.join(target, "model.safetensors"), "rb") as a, open(os.path.join(again, "model.safetensors"),
                                                                          "rb") as b:
        if a.read() != b.read():
            wrong.append("a second conversion differs")
    with open(os.path.join(target, "config.json")) as file:
        config = json.load(file)
    pixels = pixels_for(model, target, config)
    before, after = forward(binary, model, arch, pixels, folder), forward(binary, target, "", pixels, folder)
    if any(not torch.equal(before[key], after[key]) for key in before):
        wrong.append("other bits than the source")
    if not is_transformers_graph(config):
        print(f"{model}: names agree; another graph than transformers'")
        return wrong
    with torch.no_grad():
        restore_scales(loaded)
        answers = loaded.float()(load_file(pixels)["pixel_values"].float())
    distance = difference(after, {"logits": answers.logits, "pred_boxes": answers.pred_boxes})
    print(f"{model}: {distance:.1e} to transformers", flush=True)
    return wrong + ([f"differs from transformers by {distance:.1e}"] if distance > TOLERANCE else [])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL[=ARCH]")
    parser.add_argument("--vistazo", default="build/release/vistazo")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)  # two wait for each other on a busy machine
    failed = False
    for text in options.models:
        model, _, arch = text.partition("=")
        with tempfile.TemporaryDirectory() as folder:
            for problem in check(options.vistazo, model, arch, folder):
                print(f"{model}: {problem}", flush=True)
                failed = True
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
