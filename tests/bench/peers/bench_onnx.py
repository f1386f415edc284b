#!/usr/bin/env python3
"""Times a published ONNX file in ONNX Runtime beside vistazo on the same weights, f32 on the CPU, in turns.

    bench_onnx.py MODEL FILE.onnx [--vistazo PATH] [--threads 2] [--rounds 5] [--seconds 2]

MODEL is what `vistazo bench --model` takes. The ONNX file's inputs are images (1, 3, side, side) and, if it has them,
the original sizes. Random pixels; medians of the rounds' medians.
"""

import argparse
import json
import statistics
import subprocess
import time

import numpy as np
import onnxruntime


def make_session(path, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    inputs = {}
    for wanted in session.get_inputs():
        if "int64" in wanted.type:
            inputs[wanted.name] = np.array([[640, 480]], dtype=np.int64)
        else:
            shape = [1 if not isinstance(size, int) else size for size in wanted.shape]
            inputs[wanted.name] = np.random.default_rng(1).random(shape, dtype=np.float32)
            side = shape[-1]
    return lambda: session.run(None, inputs), side


def median_ms(run, seconds):
    for _ in range(5):
        run()
    times, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        begin = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - begin))
    return statistics.median(times)


def vistazo_ms(options, side):
    output = subprocess.run(
        [options.vistazo, "bench", "--model", options.model, "--device", "cpu", "--precision", "f32", "--batch", "1",
         "--threads", str(options.threads), "--size", str(side), "--seconds", str(options.seconds), "--json", "-"],
        capture_output=True, text=True, check=True).stdout  # fmt: skip
    return json.loads(output)["results"][0]["median_ms"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("onnx")
    parser.add_argument("--vistazo", default="build/release/vistazo")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    options = parser.parse_args()
    run, side = make_session(options.onnx, options.threads)
    ours, theirs = [], []
    for _ in range(options.rounds):
        theirs.append(median_ms(run, options.seconds))
        time.sleep(0.3)  # its threads stop spinning
        ours.append(vistazo_ms(options, side))
    ratios = [t / o for t, o in zip(theirs, ours)]
    print(f"ONNX Runtime {onnxruntime.__version__} {statistics.median(theirs):.2f} ms, vistazo "
          f"{statistics.median(ours):.2f} ms, {side} x {side}: {statistics.median(ratios):.2f} times as fast "
          f"({min(ratios):.2f} to {max(ratios):.2f} over {options.rounds} turns)")  # fmt: skip


if __name__ == "__main__":
    main()
