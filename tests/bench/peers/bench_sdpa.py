#!/usr/bin/env python3
"""PyTorch's scaled_dot_product_attention on the shapes of tests/gpu/attention_bench.cpp, timed alike: a CUDA graph of
many calls that rotate among sets of random inputs, replayed; the median of one call, the better of two runs.

    bench_sdpa.py       prints a Markdown table; needs torch and a GPU
"""

import statistics

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

SHAPES = [(1, 6, 580, 64), (16, 6, 1940, 64), (1, 12, 16384, 64), (1, 8, 300, 32)]
SETS = 4


def median_ms(graph, repeats):
    times = []
    for _ in range(repeats):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times)


def seconds_of(shape, dtype, backend):
    batch, heads, tokens, dim = shape
    flops = 4 * batch * heads * tokens * tokens * dim
    calls = 4 if flops > 5e10 else 40
    # (B, N, H, D) in memory, as the projections of a transformer leave them.
    sets = [
        [torch.randn(batch, tokens, heads, dim, device="cuda", dtype=dtype).transpose(1, 2) for _ in range(3)]
        for _ in range(SETS)
    ]
    with sdpa_kernel(backend):
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for operands in sets:
                F.scaled_dot_product_attention(*operands)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for i in range(calls):
                F.scaled_dot_product_attention(*sets[i % SETS])
    median_ms(graph, 3)
    return min(median_ms(graph, 21), median_ms(graph, 21)) / calls * 1e-3, flops


def main():
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name()}")
    print("| batch, heads, tokens, dim | dtype | backend | us | TFLOP/s |\n|---|---|---|---|---|")
    for shape in SHAPES:
        for name, backend in [("flash", SDPBackend.FLASH_ATTENTION), ("cudnn", SDPBackend.CUDNN_ATTENTION)]:
            label = ", ".join(map(str, shape))
            try:
                seconds, flops = seconds_of(shape, torch.bfloat16, backend)
            except RuntimeError as error:
                print(f"| {label} | bf16 | {name} | failed: {str(error).splitlines()[0]} | |")
                continue
            print(f"| {label} | bf16 | {name} | {seconds * 1e6:.1f} | {flops / seconds * 1e-12:.1f} |", flush=True)


if __name__ == "__main__":
    main()
