#!/usr/bin/env python3
"""Times one forward of a detector's Hugging Face folder, batch 1, on the CPU: PyTorch, ONNX Runtime and vistazo in one run.

    bench_cpu.py MODEL_DIR MODEL.onnx [--threads 2] [--seconds 5] [--vistazo PATH_TO_BINARY]

The contenders take turns, A B C A B C ..., so that a drift of the machine hits all of them. Each peer lives in a
process of its own, warmed up once and again at the start of every turn; between its turns it is stopped (SIGSTOP),
so no thread pool of one contender can spin while another is timed, and each may spin during its own turn.
vistazo runs as `vistazo bench`, one process per turn, with its own warm-up. Before anything is timed, the logits of
the peers are compared with those of PyTorch eager in float32.

The result is a Markdown table. Median, p10 and p90 are those of a turn, and the table has the median of them over
the turns; the ratio is the contender's time over vistazo's at the same precision (above 1: vistazo is faster), with
the smallest and largest ratio of a turn behind it.
"""

import argparse
import contextlib
import dataclasses
import importlib.metadata
import json
import multiprocessing
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

DEFAULT_SIZE = 640  # of a config that names none: RT-DETR's
WARM_UP_FORWARDS = 5  # once, after the model has been prepared
WAKE_UP_FORWARDS = 2  # at the start of every turn
FLOAT32_TOLERANCE = 1e-3  # of a logit
FLOAT32_OUTLIERS = 0.02  # share of queries that may differ more: near-ties in the ranking of proposals may swap
FLOAT32_SCORE_TOLERANCE = 3e-3  # of a sorted score: random weights rank so closely that one swap moves all rows behind it
BFLOAT16_SCORE_TOLERANCE = 0.05  # of a sorted score, after the sigmoid


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a worker needs to know."""

    model_dir: str
    onnx_path: str
    threads: int


@dataclasses.dataclass(frozen=True)
class Turn:
    """Milliseconds per forward in one turn of one contender."""

    median: float
    p10: float
    p90: float


# ---------------------------------------------------------------------------------------------------------------------
# The peers. Each function prepares one and returns forward(), which gives the logits as a float32 array.


def prepare_pytorch(settings, pixel_values, compiled, bfloat16):
    """PyTorch with SDPA attention; bfloat16 is autocast, with the weights it would convert in each forward cast before.

    A model that is bfloat16 throughout is no alternative: grid_sample of PyTorch then computes in bfloat16 as well,
    where the sampling locations lose what they need, and its CPU kernel gives NaN on some inputs.
    """
    import torch
    from transformers import AutoModelForObjectDetection

    torch.set_num_threads(settings.threads)
    detector = AutoModelForObjectDetection.from_pretrained(
        settings.model_dir, dtype=torch.float32, local_files_only=True  # SDPA wherever the model has it
    ).eval()
    detector.requires_grad_(False)
    if bfloat16:
        for module in detector.modules():
            if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
                module.to(torch.bfloat16)
    if compiled:
        detector = torch.compile(detector, dynamic=False)
    batch = torch.from_numpy(pixel_values)

    def forward():
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            return detector(pixel_values=batch).logits.float().numpy()

    return forward


def prepare_onnxruntime(settings, pixel_values):
    """ONNX Runtime, CPU provider, all graph optimisations."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = settings.threads
    session = onnxruntime.InferenceSession(settings.onnx_path, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(["logits", "pred_boxes"], {"pixel_values": pixel_values})[0]


@dataclasses.dataclass(frozen=True)
class Peer:
    """A contender that runs in a worker process."""

    name: str
    precision: str
    prepare: Callable
    options: dict

    def make_forward(self, settings, pixel_values):
        """Prepares the model; the function returned runs it once."""
        return self.prepare(settings, pixel_values, **self.options)


PEERS = {
    "eager-f32": Peer("PyTorch eager", "f32", prepare_pytorch, {"compiled": False, "bfloat16": False}),
    "compile-f32": Peer("PyTorch torch.compile", "f32", prepare_pytorch, {"compiled": True, "bfloat16": False}),
    "ort-f32": Peer("ONNX Runtime", "f32", prepare_onnxruntime, {}),
    "eager-bf16": Peer("PyTorch eager, autocast", "bf16", prepare_pytorch, {"compiled": False, "bfloat16": True}),
    "compile-bf16": Peer(
        "PyTorch torch.compile, autocast", "bf16", prepare_pytorch, {"compiled": True, "bfloat16": True}
    ),
}
REFERENCE_PEER = "eager-f32"


# ---------------------------------------------------------------------------------------------------------------------
# Worker processes


def run_worker(connection, peer, settings, pixel_values):
    """Serves one peer: says when it is ready (or why it is not), then times a turn per request."""
    try:
        start = time.perf_counter()
        forward = peer.make_forward(settings, pixel_values)
        logits = forward()
        first_seconds = time.perf_counter() - start
        for _ in range(WARM_UP_FORWARDS):
            forward()
    except Exception as error:  # whatever it is, the other peers are still to be timed
        connection.send({"error": f"{type(error).__name__}: {str(error).strip()[:300]}"})
        return
    connection.send({"logits": logits, "first_seconds": first_seconds})
    while (seconds := connection.recv()) is not None:
        for _ in range(WAKE_UP_FORWARDS):
            forward()
        times = []
        deadline = time.perf_counter() + seconds
        while not times or time.perf_counter() < deadline:
            start = time.perf_counter()
            forward()
            times.append(1e3 * (time.perf_counter() - start))
        connection.send(times)


class Worker:
    """The process of one peer, stopped except while it prepares or has its turn."""

    def __init__(self, peer, settings, pixel_values):
        self.peer = peer
        context = multiprocessing.get_context("spawn")
        self._connection, child = context.Pipe()
        self._process = context.Process(target=run_worker, args=(child, peer, settings, pixel_values), daemon=True)
        self._process.start()
        child.close()
        try:
            self.state = self._connection.recv()
        except EOFError:
            self.state = {"error": "the process ended"}
        if "error" not in self.state:
            self._signal(signal.SIGSTOP)

    def _signal(self, number):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, number)

    def turn(self, seconds):
        """Times forwards for about `seconds`."""
        self._signal(signal.SIGCONT)
        self._connection.send(seconds)
        times = self._connection.recv()
        self._signal(signal.SIGSTOP)
        p10, median, p90 = np.percentile(times, [10, 50, 90])
        return Turn(float(median), float(p10), float(p90))

    def close(self):
        """Ends the process."""
        self._signal(signal.SIGCONT)
        with contextlib.suppress(OSError):
            self._connection.send(None)
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def largest_score_difference(expected, actual):
    """Compares the best score of each query, sorted, so that the order of the queries does not matter."""

    def scores(logits):
        return np.sort(1.0 / (1.0 + np.exp(-logits.astype(np.float64).max(axis=-1))), axis=-1)

    return float(np.abs(scores(expected) - scores(actual)).max())


def check(peer, expected, actual):
    """Returns (passed, a line that says how far the logits are from the reference)."""
    if expected.shape != actual.shape or not np.isfinite(actual).all():
        return False, "logits of another shape, or not finite"
    score_difference = largest_score_difference(expected, actual)
    per_query = np.abs(expected - actual).max(axis=-1)
    text = (
        f"logits differ by {np.median(per_query):.1e} (median of queries), {per_query.max():.1e} (largest), "
        f"sorted scores by {score_difference:.1e}"
    )
    if peer.precision == "f32":
        is_same_order = float((per_query > FLOAT32_TOLERANCE).mean()) <= FLOAT32_OUTLIERS
        return is_same_order or score_difference <= FLOAT32_SCORE_TOLERANCE, text
    return score_difference <= BFLOAT16_SCORE_TOLERANCE, text


# ---------------------------------------------------------------------------------------------------------------------
# vistazo


class Vistazo:
    """`vistazo bench`, a fresh process per turn."""

    def __init__(self, binary, model_dir, precision, threads, environment):
        self.name = "vistazo"
        self.precision = precision
        self._environment = environment
        self._command = [str(binary), "bench", "--model", str(model_dir), "--precision", precision]
        self._command += ["--threads", str(threads), "--batch", "1", "--json", "-"]

    def turn(self, _seconds):
        """Runs the program once and reads its own statistics."""
        done = subprocess.run(self._command, env=self._environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(self._command)} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
        results = json.loads(done.stdout)["results"]
        matching = [r for r in results if r["precision"] == self.precision and r["batch"] == 1]
        if len(matching) != 1:
            raise RuntimeError(f"{' '.join(self._command)} gave {len(matching)} results for batch 1")
        return Turn(matching[0]["median_ms"], matching[0]["p10_ms"], matching[0]["p90_ms"])


# ---------------------------------------------------------------------------------------------------------------------


def cpu_name():
    """The processor's name as the kernel gives it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def markdown_table(turns):
    """The table, from {(name, precision): [Turn]}; the turns of all contenders were taken in the same rounds."""
    lines = [
        "| engine | precision | median ms | p10 | p90 | time / vistazo's (turns) |",
        "| --- | --- | --: | --: | --: | --: |",
    ]
    for (name, precision), own in turns.items():
        median, p10, p90 = (statistics.median(getattr(t, field) for t in own) for field in ("median", "p10", "p90"))
        base = turns.get(("vistazo", precision))
        ratio = "-"
        if base:
            ratios = [t.median / b.median for t, b in zip(own, base)]
            ratio = f"{median / statistics.median(b.median for b in base):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        lines.append(f"| {name} | {precision} | {median:.2f} | {p10:.2f} | {p90:.2f} | {ratio} |")
    return "\n".join(lines)


def parse_arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("onnx", type=Path, help="what export_onnx.py made of MODEL_DIR")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5.0, help="timed seconds per peer, over all its turns")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--vistazo", type=Path, help="the vistazo program")
    parser.add_argument("--vistazo-precisions", nargs="+", choices=["f32", "bf16"], default=["f32", "bf16"])
    return parser.parse_args()


def start_workers(names, settings, pixel_values):
    """Prepares and checks the peers one after the other; those that fail are left out with a message."""
    workers = []
    reference = None
    for name in [REFERENCE_PEER] + [n for n in names if n != REFERENCE_PEER]:
        peer = PEERS[name]
        worker = Worker(peer, settings, pixel_values)
        label = f"{peer.name}, {peer.precision}"
        if "error" in worker.state:
            print(f"skipped: {label}: {worker.state['error']}", flush=True)
            worker.close()
            if reference is None:
                sys.exit("without PyTorch eager there is nothing to check the others against")
            continue
        workers.append(worker)
        logits = worker.state["logits"]
        if reference is None:
            reference = logits
        passed, text = check(peer, reference, logits)
        print(f"checked: {label}: {text}; ready after {worker.state['first_seconds']:.1f} s", flush=True)
        if not passed:
            raise RuntimeError(f"{label}: wrong result")
    return [w for w in workers if any(PEERS[n] is w.peer for n in names)], workers


def main():
    """Prepares, checks, times in turns and prints the table."""
    arguments = parse_arguments()
    config = json.loads((arguments.model_dir / "config.json").read_text())
    size = config["backbone_config"].get("image_size", DEFAULT_SIZE)
    pixel_values = np.random.default_rng(1).standard_normal((1, 3, size, size), dtype=np.float32)
    settings = Settings(str(arguments.model_dir), str(arguments.onnx), arguments.threads)
    environment = dict(os.environ)

    versions = ", ".join(f"{p} {importlib.metadata.version(p)}" for p in ("torch", "transformers", "onnxruntime"))
    print(f"{cpu_name()}, {arguments.threads} threads, batch 1, {size}x{size}; {versions}")
    print(f"load average at the start: {os.getloadavg()[0]:.2f}", flush=True)

    programs = []
    if arguments.vistazo:
        for precision in arguments.vistazo_precisions:
            programs.append(Vistazo(arguments.vistazo, arguments.model_dir, precision, arguments.threads, environment))
            programs[-1].turn(0)  # a mistake in the command shows before minutes of preparation
    workers = []
    with tempfile.TemporaryDirectory() as compile_cache:
        os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
        os.environ["HF_HUB_OFFLINE"] = "1"
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = compile_cache  # so that the seconds are those of a first compilation
        os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # no pool of helper processes that outlives the compilation
        try:
            timed, workers = start_workers(arguments.peers, settings, pixel_values)
            contenders = [((w.peer.name, w.peer.precision), w) for w in timed]
            contenders += [((program.name, program.precision), program) for program in programs]
            contenders.sort(key=lambda entry: entry[0][1] != "f32")
            turns = {key: [] for key, _ in contenders}
            for _ in range(arguments.rounds):
                for key, contender in contenders:
                    turns[key].append(contender.turn(arguments.seconds / arguments.rounds))
        finally:
            for worker in workers:
                worker.close()
    print(f"load average at the end: {os.getloadavg()[0]:.2f}; {arguments.rounds} rounds\n")
    print(markdown_table(turns))


if __name__ == "__main__":
    main()
