"""Times the convolutions of RT-DETR-R18 (640 x 640, channels last, bias and ReLU fused) beside cuDNN's.

    bench_convolution.py LIBRARY [--batch N ...] [--tiles]

LIBRARY is built from convolution_library.cpp. Each layer is captured into a graph of many launches, ours and PyTorch's
cudnn_convolution_relu, replayed in turns; medians in microseconds of one call, and their sums over the layers with how
often each occurs. Every result is checked first. --tiles: every tile shape of sm90, and the kernel of sm80, too.
"""
import argparse
import ctypes
import statistics

import torch

# Times it occurs, input channels, output channels, kernel, stride, input side.
LAYERS = [
    (1, 3, 32, 3, 2, 640), (1, 32, 32, 3, 1, 320), (1, 32, 64, 3, 1, 320), (4, 64, 64, 3, 1, 160),
    (1, 64, 128, 3, 2, 160), (3, 128, 128, 3, 1, 80), (1, 64, 128, 1, 1, 80), (1, 128, 256, 3, 2, 80),
    (3, 256, 256, 3, 1, 40), (1, 128, 256, 1, 1, 40), (1, 256, 512, 3, 2, 40), (3, 512, 512, 3, 1, 20),
    (1, 256, 512, 1, 1, 20), (1, 128, 256, 1, 1, 80), (2, 256, 256, 1, 1, 40), (3, 256, 256, 1, 1, 20),
    (1, 512, 256, 1, 1, 20), (2, 512, 128, 1, 1, 80), (4, 512, 128, 1, 1, 40), (2, 512, 128, 1, 1, 20),
    (3, 128, 128, 3, 1, 80), (6, 128, 128, 3, 1, 40), (3, 128, 128, 3, 1, 20), (2, 128, 256, 1, 1, 80),
    (2, 128, 256, 1, 1, 40), (1, 128, 256, 1, 1, 20), (1, 256, 256, 3, 2, 80), (1, 256, 256, 3, 2, 40),
    (1, 256, 256, 1, 1, 80),
]
LAUNCHES, REPEATS, TILES = 20, 7, 10


def load(path):
    library = ctypes.CDLL(path)
    library.convolution_create.restype = ctypes.c_void_p
    library.convolution_create.argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_int] * 6
    library.convolution_destroy.argtypes = [ctypes.c_void_p]
    library.convolution_run.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_int] * 5 + [ctypes.c_void_p]
    return library


class Replay:
    def __init__(self, run):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                run()
        torch.cuda.current_stream().wait_stream(stream)
        self.graph, self.times = torch.cuda.CUDAGraph(), []
        with torch.cuda.graph(self.graph):
            for _ in range(LAUNCHES):
                run()
        self.graph.replay()

    def replay(self):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        self.graph.replay()
        end.record()
        end.synchronize()
        self.times.append(begin.elapsed_time(end) * 1e3 / LAUNCHES)


def time_layer(library, layer, batch, dtype, has_tiles):
    _, channels, outputs, kernel, stride, side = layer
    weight = torch.randn(outputs, channels, kernel, kernel) / (channels * kernel * kernel) ** 0.5
    bias = torch.randn(outputs)
    x = torch.randn(batch, channels, side, side, device="cuda", dtype=dtype).to(memory_format=torch.channels_last)
    peer_weight = weight.to("cuda", dtype).to(memory_format=torch.channels_last)
    peer_bias = bias.to("cuda", dtype)
    padding, is_f16 = kernel // 2, int(dtype == torch.float16)
    ours = library.convolution_create(weight.data_ptr(), bias.data_ptr(), channels, outputs, kernel, stride, padding,
                                      is_f16)
    assert ours, "convolution_create failed"

    def run_peer():
        return torch.cudnn_convolution_relu(x, peer_weight, peer_bias, (stride, stride), (padding, padding), (1, 1), 1)

    expected = run_peer()
    y = torch.full_like(expected, float("nan"))

    def run_ours(tile=-1):
        failed = library.convolution_run(ours, x.data_ptr(), y.data_ptr(), batch, side, side, is_f16, tile,
                                         torch.cuda.current_stream().cuda_stream)
        assert failed == 0, "convolution_run failed"

    runs = [run_peer, run_ours]
    if has_tiles:
        runs += [lambda tile=tile: run_ours(tile) for tile in ([-2] + list(range(TILES)) if channels % 8 == 0 else [-2])]
    replays = []
    for run in runs:
        y.fill_(float("nan"))
        replays.append(Replay(run))
        if run is not run_peer:
            error = (y.float() - expected.float()).norm() / expected.float().norm()
            if not error < 1e-2:
                print(f"WRONG: {layer} batch {batch}: run {len(replays) - 1}: error {error}")
    for _ in range(REPEATS):
        for replay in replays:
            replay.replay()
    library.convolution_destroy(ours)
    return [statistics.median(replay.times) for replay in replays]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--tiles", action="store_true")
    arguments = parser.parse_args()
    torch.backends.cudnn.benchmark = True
    library = load(arguments.library)
    for batch in arguments.batch:
        sums = [0.0, 0.0]
        print(f"batch {batch}\n| times | in | out | kernel | stride | side | cuDNN, us | ours, us | ratio | TFLOP/s |")
        for layer in LAYERS:
            times = time_layer(library, layer, batch, torch.float16, arguments.tiles)
            count, channels, outputs, kernel, stride, side = layer
            sums = [total + count * time for total, time in zip(sums, times)]
            flops = 2.0 * batch * (side // stride) ** 2 * channels * outputs * kernel ** 2
            print(f"| {' | '.join(map(str, layer))} | {times[0]:.1f} | {times[1]:.1f} | {times[0] / times[1]:.2f} | "
                  f"{flops / times[1] * 1e-6:.0f} | {' | '.join(f'{time:.1f}' for time in times[2:])}", flush=True)
        print(f"batch {batch}: all layers: cuDNN {sums[0]:.0f} us, ours {sums[1]:.0f}, ratio {sums[0] / sums[1]:.2f}")


if __name__ == "__main__":
    main()
