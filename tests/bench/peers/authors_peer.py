#!/usr/bin/env python3
"""Every published size, built by its authors' own code, beside vistazo on the .pth file that it saves.

    authors_peer.py AUTHORS_DIR [CASE ...] [--vistazo PATH] [--seed 0] [--list]

AUTHORS_DIR holds checkouts called RT-DETR, D-FINE, DEIMv2, RT-DETRv4 and rf-detr (github.com/lyuwenyu/RT-DETR,
Peterande/D-FINE, Intellindust-AI-Lab/DEIMv2, RT-DETRs/RT-DETRv4, roboflow/rf-detr). Nothing of them is kept.

Weights are random, statistics of batch norms too. The file is as training leaves it: averaged weights beside others
that must not be taken, or RF-DETR's table and arguments. Prints the relative norm of the difference of logits and boxes
(f32) and how the size was found without --arch; fails above 1e-4.

Random weights rank some proposals in near-ties, whose order rounding decides: where the order of the queries means
nothing, rows are matched first. And a seed counts only if the authors' own answers move by less than half of the
tolerance when the image is changed in its last bits.
"""
import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file, save_file
from scipy.optimize import linear_sum_assignment
from torch import nn

from authors_models import FEW_QUERIES, Case, build, cases, import_authors, random_pixels, randomize

TOLERANCE = 1e-4
MARK = "answer: "  # of a line that is not the authors'
SEEDS = 12  # tried, until one is no near-tie


def relative(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found.double() - wanted.double()).norm() / wanted.double().norm())


def in_order_of(wanted: dict, found: dict) -> dict:
    """The rows of `found`, each beside the one of `wanted` that it is nearest to."""
    rows = [torch.cat([answers["logits"], answers["pred_boxes"]], dim=-1)[0].double() for answers in (wanted, found)]
    _, order = linear_sum_assignment(torch.cdist(*rows).numpy())
    return {name: tensor[:, order] for name, tensor in found.items()}


def distances(case: Case, found: dict, wanted: dict) -> tuple[float, float]:
    if not case.is_rf_detr:  # whose queries are learned, one for each rank
        found = in_order_of(wanted, found)
    return relative(found["logits"], wanted["logits"]), relative(found["pred_boxes"], wanted["pred_boxes"])


def answers(model: nn.Module, pixels: torch.Tensor) -> dict:
    with torch.no_grad():
        outputs = model(pixels)
    return {"logits": outputs["pred_logits"], "pred_boxes": outputs["pred_boxes"]}


def save_checkpoint(model: nn.Module, case: Case, path: str) -> None:
    weights = model.state_dict()
    if case.is_rf_detr:
        torch.save({"model": weights, "args": argparse.Namespace(num_classes=90, class_names=["a"])}, path)
        return
    wrong = {name: torch.zeros(()).expand(tensor.shape) for name, tensor in weights.items()}
    torch.save({"date": "today", "last_epoch": 3, "model": wrong, "ema": {"module": weights, "updates": 7}}, path)


def vistazo(binary: str, *arguments: str, must_work: bool = False) -> subprocess.CompletedProcess:
    result = subprocess.run([binary, *arguments], capture_output=True, text=True)
    if must_work and result.returncode:
        raise RuntimeError(result.stderr.strip())
    return result


def with_few_queries(binary: str, case: Case, weights: str, folder: str) -> str:
    """A folder of the same weights whose config asks for FEW_QUERIES."""
    vistazo(binary, "convert", weights, folder, "--arch", case.name, must_work=True)
    path = os.path.join(folder, "config.json")
    with open(path) as file:
        config = json.load(file) | {"num_queries": FEW_QUERIES}
    with open(path, "w") as file:
        json.dump(config, file)
    return folder


def how_it_is_found(binary: str, case: Case, path: str) -> str:
    """Without --arch: the size itself, or an error that offers it."""
    alone = vistazo(binary, "inspect", path)
    if alone.returncode == 0:
        return "found" if f" {case.name}: " in alone.stdout else "WRONG"
    return "ambiguous" if "may be any of" in alone.stderr and case.name in alone.stderr else "NOT FOUND"


def stable_answers(case: Case, authors: str, first_seed: int):
    """-> model, pixels, the authors' answers, the seed."""
    model, side = build(case, authors)
    for seed in range(first_seed, first_seed + SEEDS):
        pixels = random_pixels(side, seed)
        randomize(model, random_pixels(side, seed + 1000), seed)
        wanted, nudged = answers(model, pixels), answers(model, pixels * (1 + 3e-7))
        spread = min(value.std(dim=1).mean().item() for value in wanted.values())
        # RF-DETR's authors may choose a cell at the border, which has an empty box; transformers and vistazo never do.
        has_empty = bool((wanted["pred_boxes"][..., 2:] == 0).any())
        if max(distances(case, nudged, wanted)) < TOLERANCE / 2 and spread > 0.01 and not has_empty:
            return model, pixels, wanted, seed
    raise RuntimeError(f"{case.name}: of {SEEDS} seeds none gives answers that rounding does not move")


def compare(case: Case, options: argparse.Namespace) -> dict:
    torch.set_num_threads(1)  # two wait for each other on a busy machine
    model, pixels, wanted, seed = stable_answers(case, options.authors, options.seed)
    with tempfile.TemporaryDirectory() as folder:
        weights, inputs, outputs = (os.path.join(folder, name) for name in ("x.pth", "in.safetensors",
                                                                           "out.safetensors"))
        save_checkpoint(model, case, weights)
        save_file({"pixel_values": pixels}, inputs)
        found = how_it_is_found(options.vistazo, case, weights)
        named = ["--model", weights, "--arch", case.name]
        if case.is_discrete:
            named = ["--model", with_few_queries(options.vistazo, case, weights, os.path.join(folder, "few"))]
        vistazo(options.vistazo, "forward", *named, "--device", "cpu", "--precision", "f32", "--threads", "1", "--input",
                inputs, "--output", outputs, must_work=True)
        logits, boxes = distances(case, load_file(outputs), wanted)
    return {"logits": logits, "boxes": boxes, "seed": seed, "found": found}


def compare_all(chosen: list[Case], options: argparse.Namespace) -> None:
    """Of one checkout. Each in a process of its own, as the authors' configs are global; a line of JSON each."""
    import_authors(chosen[0].folder, options.authors)
    for case in chosen:
        with multiprocessing.get_context("fork").Pool(1) as pool:
            try:
                answer = pool.apply(compare, (case, options))
            except Exception as error:  # noqa: BLE001: reported, and the others go on
                answer = {"error": f"{type(error).__name__}: {error}"}
        print(MARK + json.dumps({"name": case.name} | answer), flush=True)


def report(answer: dict) -> bool:
    if "error" in answer:
        print(f"{answer['name']:20} FAILED: {answer['error'][:1000]}", flush=True)
        return False
    is_right = max(answer["logits"], answer["boxes"]) <= TOLERANCE and answer["found"] in ("found", "ambiguous")
    print(f"{answer['name']:20} {answer['logits']:8.1e} {answer['boxes']:8.1e} {answer['seed']:5}  {answer['found']}"
          f"{'' if is_right else '   WRONG'}", flush=True)
    return is_right


def compare_apart(chosen: list[Case], options: argparse.Namespace) -> list[str]:
    """-> what is wrong. In a process of its own: the authors' packages share their names, and print a lot."""
    child = subprocess.Popen([sys.executable, __file__, options.authors, "--here", "--vistazo",
                              os.path.abspath(options.vistazo), "--seed", str(options.seed),
                              *(case.name for case in chosen)],
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    answers_of = {}
    for line in child.stdout:
        if line.startswith(MARK):
            answer = json.loads(line.removeprefix(MARK))
            answers_of[answer["name"]] = report(answer)
    child.wait()
    return [case.name for case in chosen if not answers_of.get(case.name)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("authors")
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--vistazo", default="build/release/vistazo")
    parser.add_argument("--seed", type=int, default=0, help="the first one to try")
    parser.add_argument("--list", action="store_true", help="the names of the cases")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_intermixed_args()
    known = {case.name: case for case in cases()}
    unknown = [name for name in options.cases if name not in known]
    if unknown:
        sys.exit(f"{', '.join(unknown)}: no such case; --list names them")
    if options.list:
        print("\n".join(known))
        return
    chosen = [known[name] for name in options.cases or known]
    if options.here:
        compare_all(chosen, options)
        return
    print(f"{'size':20} {'logits':>8} {'boxes':>8} {'seed':>5}  without --arch", flush=True)
    wrong = []
    for folder in dict.fromkeys(case.folder for case in chosen):
        wrong += compare_apart([case for case in chosen if case.folder == folder], options)
    if wrong:
        sys.exit(f"wrong: {', '.join(wrong)}")
    print(f"all {len(chosen)} agree to {TOLERANCE}")


if __name__ == "__main__":
    main()
