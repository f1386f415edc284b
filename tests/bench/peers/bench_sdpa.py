#!/usr/bin/env python3
"""Our attention beside PyTorch's scaled_dot_product_attention (FlashAttention-2 and cuDNN), alternating in one run.

A contender is a CUDA graph of calls that rotate among sets of random inputs, (B, N, H, D) in memory as the projections
of a transformer leave them. Contenders take turns for --rounds rounds; a figure is the median of the rounds, the ratio
that of the better peer's time to ours, with its range over the rounds. Results are compared before they are timed.

    bench_sdpa.py --library libvistazo_attention.so [--rounds 9] [--f16]      needs torch and a GPU; a Markdown table
    ... --paired             by pairs of warpgroups too (sm90_pair.cu), in a row of its own, up to dimension 64
    ... --shapes TEXT        only shapes with TEXT in their names
tests/gpu/build.sh makes the library.
"""

import argparse
import ctypes
import statistics

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

SHAPES = [  # name, batch entries (images x windows), heads, tokens, dimension
    ("rfdetr-n window b1", 4, 6, 145, 64), ("rfdetr-n window b16", 64, 6, 145, 64), ("rfdetr-n full b1", 1, 6, 580, 64),
    ("rfdetr-n full b16", 16, 6, 580, 64), ("rfdetr-m window b1", 4, 6, 325, 64), ("rfdetr-m full b1", 1, 6, 1300, 64),
    ("rfdetr-l window b1", 4, 6, 485, 64), ("rfdetr-l window b16", 64, 6, 485, 64), ("rfdetr-l full b1", 1, 6, 1940, 64),
    ("rfdetr-l full b16", 16, 6, 1940, 64), ("deimv2-x trunk b1", 1, 6, 1605, 64),
    ("deimv2-x trunk b16", 16, 6, 1605, 64), ("yolos-tiny b1", 1, 3, 4301, 64), ("yolos-base b1", 1, 12, 4301, 64),
    ("yolos-base b8", 8, 12, 4301, 64), ("aifi b1", 1, 8, 400, 32), ("aifi b32", 32, 8, 400, 32),
    ("decoder self b1", 1, 8, 300, 32), ("decoder self b32", 32, 8, 300, 32), ("16k d64", 1, 12, 16384, 64),
    ("16k d32", 1, 8, 16384, 32), ("16k d128", 1, 16, 16384, 128), ("4096px d64", 1, 6, 65536, 64),
]  # fmt: skip
SETS = 4


def capture(call, sets, calls):
    """A graph of `calls` calls, warmed up."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for operands in sets:
            call(*operands)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for i in range(calls):
            call(*sets[i % len(sets)])
    graph.replay()
    torch.cuda.synchronize()
    return graph


def microseconds(graph, calls):
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    graph.replay()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) * 1e3 / calls


def contenders(library, dtype, shape, with_pairs):
    """Functions of q, k, v in (B, N, H, D) that return the output, by name."""
    batch, heads, tokens, dim = shape

    def ours(is_paired):
        def call(q, k, v):
            out = torch.empty_like(q)
            stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
            pointers = [ctypes.c_void_p(x.data_ptr()) for x in (q, k, v, out)]
            kind = int(dtype == torch.float16), int(is_paired)
            if library.vistazo_attention(*pointers, batch, tokens, heads, dim, *kind, stream):
                raise RuntimeError("vistazo_attention failed")
            return out

        return call

    def peer(backend):
        def call(q, k, v):
            with sdpa_kernel(backend):
                return F.scaled_dot_product_attention(*(x.transpose(1, 2) for x in (q, k, v))).transpose(1, 2)

        return call

    own = {"ours": ours(False)} | ({"paired": ours(True)} if with_pairs and dim <= 64 else {})
    return own | {"fa2": peer(SDPBackend.FLASH_ATTENTION), "cudnn": peer(SDPBackend.CUDNN_ATTENTION)}


def bench(name, shape, dtype, library, rounds, with_pairs):
    batch, heads, tokens, dim = shape
    flops = 4 * batch * heads * tokens * tokens * dim
    calls = max(1, min(64, int(1e12 / flops)))
    sets = [
        [torch.randn(batch, tokens, heads, dim, device="cuda", dtype=dtype) for _ in range(3)]
        for _ in range(min(SETS, calls))
    ]
    functions = contenders(library, dtype, shape, with_pairs)
    outputs = {label: call(*sets[0]).float() for label, call in functions.items()}
    own = [label for label in functions if label in ("ours", "paired")]
    difference = {
        label: float((outputs[label] - outputs["cudnn"]).norm() / outputs["cudnn"].norm()) for label in [*own, "fa2"]
    }
    for label in own:
        if not difference[label] < 2 * difference["fa2"] + 1e-3:
            raise RuntimeError(
                f"{name}: {label} differs from cuDNN by {difference[label]}, FlashAttention-2 by {difference['fa2']}"
            )
    del outputs
    graphs = {label: capture(call, sets, calls) for label, call in functions.items()}
    times = {label: [] for label in graphs}
    for _ in range(rounds):
        for label, graph in graphs.items():
            times[label].append(microseconds(graph, calls))
    us = {label: statistics.median(values) for label, values in times.items()}
    best = min("fa2", "cudnn", key=us.get)
    for label in own:
        ratios = [theirs / ours for theirs, ours in zip(times[best], times[label])]
        title = name if label == "ours" else f"{name}, {label}"
        print(
            f"| {title} | {', '.join(map(str, shape))} | {us[label]:.1f} | {flops / us[label] * 1e-6:.0f} "
            f"| {us['fa2']:.1f} | {us['cudnn']:.1f} | {us[best] / us[label]:.2f} "
            f"| {min(ratios):.2f} to {max(ratios):.2f} |",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", required=True)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--f16", action="store_true")
    parser.add_argument("--paired", action="store_true")
    parser.add_argument("--shapes", default="")
    args = parser.parse_args()
    library = ctypes.CDLL(args.library)
    print(f"torch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}, {torch.cuda.get_device_name()}")
    print("| shape | batch, heads, tokens, dim | ours, us | TFLOP/s | FA2, us | cuDNN, us | ratio | over the rounds |")
    print("|---|---|---|---|---|---|---|---|")
    for name, *shape in SHAPES:
        if args.shapes in name:
            bench(name, shape, torch.float16 if args.f16 else torch.bfloat16, library, args.rounds, args.paired)


if __name__ == "__main__":
    main()
