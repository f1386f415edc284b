#!/usr/bin/env python3
"""Times forward passes of detectors on one GPU: vistazo and PyTorch's compiled model, in one run.

    bench_gpu.py [--vistazo PATH_TO_BINARY] [--cases nano:1,rt-detr-r18:16,...] [--rounds 3] [--dtype bf16|f16]

The models have published sizes and random weights. Each is saved once in the layout of Hugging Face, so that both run
the same weights. First vistazo's f32 answers are compared with PyTorch's, then its 16-bit ones; a model whose answers
differ is not timed. PyTorch runs transformers' own model in the dtype under torch.compile(mode="reduce-overhead"),
which fuses it and replays it as a CUDA graph. The contenders take turns; both time one pass at a time with events, on
inputs that are on the device already. The table has the median of the turns' medians, in ms; the ratio is PyTorch's
time over vistazo's (above 1: vistazo is faster), with the smallest and the largest of a turn.
"""

import argparse
import copy
import json
import pathlib
import statistics
import subprocess
import tempfile
import time
import warnings

import torch
import transformers
from safetensors.torch import load_file, save_file

warnings.filterwarnings("ignore")

RF_DETR = {"nano": (384, 2), "medium": (576, 4), "large": (704, 4)}  # input side, decoder layers
F32_TOLERANCE = 5e-3  # of the sorted best logits, by norm: random weights rank proposals so closely that some swap
HALF_TOLERANCE = 0.05
WARM_UP, PASSES = 20, 100
DEFAULT_CASES = (
    "nano:1,nano:16,medium:1,medium:16,large:1,large:16,"
    "rt-detr-r18:1,rt-detr-r18:16,d-fine-s:1,d-fine-s:16,deimv2-s:1,deimv2-s:16"
)


def rf_detr(side, layers):
    trunk = dict(
        model_type="rf_detr_dinov2",
        hidden_size=384,
        num_attention_heads=6,
        image_size=side,
        patch_size=16,
        num_windows=2,
        out_features=["stage3", "stage6", "stage9", "stage12"],
    )
    config = transformers.RfDetrConfig(
        backbone_config=trunk, decoder_layers=layers, decoder_n_points=2, num_labels=91, num_queries=300
    )
    return transformers.RfDetrForObjectDetection(config)


def rt_detr_r18():
    backbone = transformers.RTDetrResNetConfig(
        embedding_size=64,
        hidden_sizes=[64, 128, 256, 512],
        depths=[2, 2, 2, 2],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = transformers.RTDetrConfig(
        backbone_config=backbone,
        encoder_in_channels=[128, 256, 512],
        hidden_expansion=0.5,
        decoder_layers=3,
        num_labels=80,
        anchor_image_size=[640, 640],
    )
    return transformers.RTDetrForObjectDetection(config)


def d_fine_s():
    """HGNetV2-B0 below three levels."""
    backbone = dict(
        model_type="hgnet_v2",
        stem_channels=[3, 16, 16],
        stage_in_channels=[16, 64, 256, 512],
        stage_mid_channels=[16, 32, 64, 128],
        stage_out_channels=[64, 256, 512, 1024],
        stage_num_blocks=[1, 1, 2, 1],
        stage_numb_of_layers=[3, 3, 3, 3],
        stage_light_block=[False, False, True, True],
        stage_kernel_size=[3, 3, 5, 5],
        stage_downsample=[False, True, True, True],
        hidden_sizes=[64, 256, 512, 1024],
        depths=[1, 1, 2, 1],
        use_learnable_affine_block=True,
        out_features=["stage2", "stage3", "stage4"],
    )
    config = transformers.DFineConfig(
        backbone_config=backbone,
        encoder_in_channels=[256, 512, 1024],
        hidden_expansion=0.5,
        depth_mult=0.34,
        decoder_layers=3,
        decoder_n_points=[3, 6, 3],
        num_labels=80,
        anchor_image_size=[640, 640],
    )
    return transformers.DFineForObjectDetection(config)


def deimv2_s():
    """A trunk of DINOv3's kind, 192 wide, below three levels."""
    backbone = dict(
        model_type="dinov3_vit",
        hidden_size=192,
        num_hidden_layers=12,
        num_attention_heads=3,
        intermediate_size=768,
        patch_size=16,
        image_size=640,
        num_register_tokens=0,
        out_indices=[4, 8, 12],
        return_class_token=False,
        reshape_hidden_states=True,
    )
    config = transformers.Deimv2Config(
        backbone_config=backbone,
        encoder_in_channels=[192, 192, 192],
        encoder_hidden_dim=192,
        d_model=192,
        encoder_ffn_dim=512,
        decoder_ffn_dim=512,
        decoder_in_channels=[192, 192, 192],
        hidden_expansion=0.34,
        depth_mult=0.67,
        decoder_layers=4,
        decoder_n_points=[3, 6, 3],
        encoder_has_trailing_conv=False,
        num_labels=80,
        anchor_image_size=[640, 640],
    )
    return transformers.Deimv2ForObjectDetection(config)


OTHERS = {"rt-detr-r18": rt_detr_r18, "d-fine-s": d_fine_s, "deimv2-s": deimv2_s}  # input side 640


def make_model(name):
    torch.manual_seed(0)
    side = RF_DETR[name][0] if name in RF_DETR else 640
    model = (rf_detr(*RF_DETR[name]) if name in RF_DETR else OTHERS[name]()).eval()
    for parameter in model.parameters():  # what starts as zeros would leave a path out
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.02)
    return model, side


def sorted_best(logits):
    return logits.float().amax(-1).sort(-1, descending=True).values


def distance(found, expected):
    found, expected = sorted_best(found.cpu()), sorted_best(expected.cpu())
    return ((found - expected).norm() / expected.norm()).item()


class Vistazo:
    def __init__(self, program, folder):
        self.program, self.folder = program, folder

    def run(self, *arguments):
        result = subprocess.run([self.program, *arguments], capture_output=True, text=True)
        if result.returncode != 0:
            raise RuntimeError(result.stderr.strip())
        return result.stdout

    def logits(self, pixels, precision):
        with tempfile.TemporaryDirectory() as scratch:
            files = [f"{scratch}/pixels.safetensors", f"{scratch}/answers.safetensors"]
            save_file({"pixel_values": pixels.cpu().contiguous()}, files[0])
            self.run("forward", "--model", self.folder, "--input", files[0], "--output", files[1], "--device", "cuda",
                     "--precision", precision)  # fmt: skip
            return load_file(files[1])["logits"]

    def bench(self, batch, precision, seconds=0.4):
        output = self.run("bench", "--model", self.folder, "--batch", str(batch), "--device", "cuda", "--precision",
                          precision, "--seconds", str(seconds), "--warmup", str(WARM_UP), "--json", "-")  # fmt: skip
        return json.loads(output)["results"][0]


def median_ms(run, passes=PASSES):
    for _ in range(WARM_UP):
        run()
    torch.cuda.synchronize()
    times = []
    for _ in range(passes):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        run()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times)


@torch.inference_mode()
def bench_case(program, folder, model, side, batch, dtype, rounds):
    precision = {torch.float16: "f16", torch.bfloat16: "bf16"}[dtype]
    peer = model.to(dtype).cuda()
    pixels = torch.randn(batch, 3, side, side, device="cuda")
    start = time.time()
    torch._dynamo.reset()
    compiled = torch.compile(peer, mode="reduce-overhead", dynamic=False)
    low = pixels.to(dtype)
    compiled(pixel_values=low)
    torch.cuda.synchronize()
    compile_s = time.time() - start
    ours, theirs = Vistazo(program, folder), []
    results = []
    for _ in range(rounds):
        results.append(ours.bench(batch, precision))
        theirs.append(median_ms(lambda: compiled(pixel_values=low)))
    del compiled
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    peer(pixel_values=low)
    peak = torch.cuda.max_memory_allocated()
    ratios = [t / r["median_ms"] for t, r in zip(theirs, results)]
    ours_ms = statistics.median(r["median_ms"] for r in results)
    theirs_ms = statistics.median(theirs)
    return (
        f"{ours_ms:.3f} | {theirs_ms:.3f} | {theirs_ms / ours_ms:.2f} ({min(ratios):.2f}-{max(ratios):.2f}) | "
        f"{results[0]['device_peak_bytes'] / 2**20:.0f} | {peak / 2**20:.0f} | {compile_s:.0f}"
    )


@torch.inference_mode()
def check(program, folder, model, side, precision, dtype):
    """The distances from PyTorch's f32 answers: vistazo's in f32 and in the dtype, PyTorch's in the dtype."""
    pixels = torch.randn(2, 3, side, side, device="cuda")
    expected = model.float().cuda()(pixel_values=pixels).logits
    peer = copy.deepcopy(model).to(dtype)(pixel_values=pixels.to(dtype)).logits
    ours = Vistazo(program, folder)
    return [distance(ours.logits(pixels, p), expected) for p in ("f32", precision)] + [distance(peer, expected)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vistazo", default="build/release/vistazo")
    parser.add_argument("--cases", default=DEFAULT_CASES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", choices=["bf16", "f16"], default="bf16")
    options = parser.parse_args()
    dtype = {"bf16": torch.bfloat16, "f16": torch.float16}[options.dtype]
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    cases = [(case.split(":")[0], int(case.split(":")[1])) for case in options.cases.split(",")]
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}, transformers {transformers.__version__}")
    print("| model | batch | vistazo | compiled | ratio | vistazo MiB | PyTorch MiB | compile s |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        for name in dict.fromkeys(name for name, _ in cases):
            model, side = make_model(name)
            folder = str(pathlib.Path(scratch) / name)
            model.save_pretrained(folder)
            distances = check(options.vistazo, folder, model, side, options.dtype, dtype)
            print(f"<!-- {name}: off by {distances[0]:.1e} in f32, {distances[1]:.1e} in {options.dtype}; "
                  f"PyTorch's own {options.dtype} by {distances[2]:.1e} -->")  # fmt: skip
            if not (distances[0] < F32_TOLERANCE and distances[1] < HALF_TOLERANCE):
                print(f"| {name} | | the answers differ: not timed | | | | | |", flush=True)
                continue
            for batch in [batch for other, batch in cases if other == name]:
                row = bench_case(options.vistazo, folder, model, side, batch, dtype, options.rounds)
                print(f"| {name} | {batch} | {row} |", flush=True)
            del model
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
