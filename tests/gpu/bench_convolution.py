"""Times the convolutions of RT-DETR-R18 (640 x 640, channels last, bias and ReLU fused) beside cuDNN's.

    bench_convolution.py LIBRARY [--batch N ...] [--tiles]

LIBRARY is built from convolution_library.cpp. Each layer is captured into a graph of many launches, ours and PyTorch's
cudnn_convolution_relu, replayed in turns; medians in microseconds of one call, and their sums over the layers with how
often each occurs. Every result is checked first. Beside what is chosen: the kernel for few channels (kernels/cuda/
shallow) where it takes the layer, and the one that reads planes of f32, as the engine has it read the first layer's
pixels: the second of the sums has that instead. --tiles: every tile shape of sm90, every variant of shallow, and the
kernel of sm80, too, the sum of the best, and lines for fit_gemm_costs.py.
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
LAUNCHES, REPEATS, VARIANTS = 20, 7, 4
CHOSEN, SM80, SM90, SHALLOW, PLANES = range(5)  # convolution_library.cpp's


def load(path):
    library = ctypes.CDLL(path)
    library.convolution_create.restype = ctypes.c_void_p
    library.convolution_create.argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_int] * 6
    library.convolution_destroy.argtypes = [ctypes.c_void_p]
    library.convolution_run.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_int] * 6 + [ctypes.c_void_p]
    library.convolution_work.argtypes = [ctypes.c_int] * 5 + [ctypes.c_void_p]
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


def works_of(library, layer, batch):
    """Steps and waves of the tile shapes that can run the layer."""
    _, channels, outputs, kernel, stride, side = layer
    works = {}
    for tile in range(library.convolution_tiles() if channels % 8 == 0 else 0):
        work = (ctypes.c_float * 2)()
        if library.convolution_work(batch * (side // stride) ** 2, channels, outputs, kernel, tile, work) == 0:
            works[tile] = tuple(work)
    return works


def kernels_of(layer, tiles, has_tiles):
    """Name, kernel and tile of what is timed beside cuDNN; `tiles` are those of sm90 that can run the layer."""
    _, channels, outputs, kernel, stride, _ = layer
    runs = [("ours", CHOSEN, -1)]
    if channels <= 4:
        runs.append(("planes", PLANES, -1))
    if kernel == 3 and channels % 8 == 0 and channels <= 64:
        runs.append(("shallow", SHALLOW, -1))
        if has_tiles:
            runs += [(f"shallow {variant}", SHALLOW, variant) for variant in range(VARIANTS)]
    if has_tiles:
        runs.append(("sm80", SM80, -1))
        runs += [(f"sm90 {tile}", SM90, tile) for tile in tiles]
    return runs


def time_layer(library, layer, batch, dtype, tiles, has_tiles):
    """The median of each kernel by its name, and of cuDNN."""
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

    planes = x.float().contiguous() if channels <= 4 else x

    def run_ours(choice, tile):
        pixels = planes if choice == PLANES else x
        failed = library.convolution_run(ours, pixels.data_ptr(), y.data_ptr(), batch, side, side, is_f16, choice, tile,
                                         torch.cuda.current_stream().cuda_stream)
        assert failed == 0, f"convolution_run failed: {layer}, kernel {choice}, tile {tile}"

    replays = {"cuDNN": Replay(run_peer)}
    for name, choice, tile in kernels_of(layer, tiles, has_tiles):
        y.fill_(float("nan"))
        replays[name] = Replay(lambda choice=choice, tile=tile: run_ours(choice, tile))
        error = (y.float() - expected.float()).norm() / expected.float().norm()
        if not error < 1e-2:
            print(f"WRONG: {layer} batch {batch}: {name}: error {error}")
    for _ in range(REPEATS):
        for replay in replays.values():
            replay.replay()
    library.convolution_destroy(ours)
    return {name: statistics.median(replay.times) for name, replay in replays.items()}


def in_engine(times):
    return times.get("planes", times["ours"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--tiles", action="store_true")
    arguments = parser.parse_args()
    torch.backends.cudnn.benchmark = True
    library = load(arguments.library)
    for batch in arguments.batch:
        sums = dict.fromkeys(["cuDNN", "ours", "in the engine", "best"], 0.0)
        print(f"batch {batch}\n| times | in | out | kernel | stride | side | cuDNN, us | ours, us | ratio | TFLOP/s | others |")
        for layer in LAYERS:
            works = works_of(library, layer, batch) if arguments.tiles else {}
            times = time_layer(library, layer, batch, torch.float16, works, arguments.tiles)
            count, channels, outputs, kernel, stride, side = layer
            peer, ours = times.pop("cuDNN"), times["ours"]
            best = min(times.values())
            for name, time in zip(sums, (peer, ours, in_engine(times), best)):
                sums[name] += count * time
            flops = 2.0 * batch * (side // stride) ** 2 * channels * outputs * kernel ** 2
            others = ", ".join(f"{name} {time:.1f}" for name, time in times.items() if name != "ours")
            print(f"| {' | '.join(map(str, layer))} | {peer:.1f} | {ours:.1f} | {peer / ours:.2f} | "
                  f"{flops / ours * 1e-6:.0f} | {others} |", flush=True)
            for tile, (steps, waves) in works.items():
                time = times[f"sm90 {tile}"]
                print(f"fit {tile} {steps:.2f} {waves:.4f} none {time:.2f} convolution {layer[1:]} batch {batch}")
        print(f"batch {batch}: all layers:", ", ".join(f"{name} {total:.0f} us (ratio {sums['cuDNN'] / total:.2f})"
                                                       for name, total in sums.items()))


if __name__ == "__main__":
    main()
