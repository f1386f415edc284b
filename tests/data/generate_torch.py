#!/usr/bin/env python3
"""Small PyTorch checkpoints for tests/weights/torch_zip_test.cpp, and what they hold as safetensors.

Usage: generate_torch.py OUT_DIR      (torch, safetensors)

Each <name>.pth has the tensors of expected.safetensors that PyTorch reads from it, listed in expected.json with the
part of the checkpoint that they are in. Hostile files are made by the test itself.
"""
import argparse
import collections
import json
import os
import pathlib
import sys
import zipfile

import torch
from safetensors.torch import save_file


def tensors() -> dict[str, torch.Tensor]:
    """Every type and kind of view that a state dict can hold."""
    generator = torch.Generator().manual_seed(7)
    base = torch.randn(5, 7, generator=generator)
    long = torch.arange(60, dtype=torch.float32)
    return {
        "f32": base.clone(),
        "f16": base.half(),
        "bf16": base.bfloat16(),
        "i64": torch.arange(-3, 4),
        "i32": torch.arange(3, dtype=torch.int32).reshape(3, 1),
        "u8": torch.arange(250, 256, dtype=torch.uint8),
        "bool": torch.tensor([True, False, True]),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 4),
        "shared.a": base,
        "shared.b": base,
        "transposed": base.t(),
        "row": base[3],
        "column": base[:, 2],
        "every_other": long[1::2].reshape(5, 6).t(),
        "middle": long[10:34].reshape(2, 3, 4),
        "permuted": long[:24].reshape(2, 3, 4).permute(2, 0, 1),
        "parameter": torch.nn.Parameter(base[:2].clone()),
        "f64": torch.zeros(2, dtype=torch.float64),
        "i16": torch.zeros(2, dtype=torch.int16),
    }


def training_checkpoint(state: dict[str, torch.Tensor], averaged: dict[str, torch.Tensor]) -> dict:
    """What scripts save while they train."""
    arguments = argparse.Namespace(resolution=384, lr=1e-4, output=pathlib.PurePosixPath("out"), names=["a", "b"],
                                   shape=(1, 2), nothing=None, flag=True, big=2**80)
    return {"model": state, "ema": {"module": averaged, "updates": 12}, "args": arguments, "epoch": 3,
            "optimizer": {"state": {0: {"step": torch.tensor(1.0), "exp_avg": torch.zeros(3)}}, "param_groups": []},
            "date": "today", "best": float("inf")}


def deflate(source: str, target: str) -> None:
    """The same archive, compressed, as a zip tool would repack it."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))


class Stream:
    """A file that cannot seek: sizes go behind the data."""

    def __init__(self, file):
        self.file = file

    def write(self, data):
        return self.file.write(data)

    def flush(self):
        self.file.flush()


def stream(source: str, target: str) -> None:
    """The same archive, written without seeking."""
    with zipfile.ZipFile(source) as old, open(target, "wb") as file:
        with zipfile.ZipFile(Stream(file), "w", zipfile.ZIP_STORED) as new:
            for name in old.namelist():
                new.writestr(name, old.read(name))


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = sys.argv[1]
    os.makedirs(folder, exist_ok=True)
    state = tensors()
    ordered = collections.OrderedDict(state)
    ordered._metadata = {"": {"version": 1}}
    averaged = {name: tensor.clone() for name, tensor in state.items()}
    plain = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
    old = dict(_use_new_zipfile_serialization=False)

    def path(name: str) -> str:
        return os.path.join(folder, name + ".pth")

    torch.save(ordered, path("new"))
    torch.save(ordered, path("old"), **old)
    torch.save(state, path("protocol_5"), pickle_protocol=5)
    torch.save(state, path("old_protocol_4"), pickle_protocol=4, **old)
    torch.save(training_checkpoint(plain, averaged), path("training"))
    torch.save(training_checkpoint(plain, averaged), path("old_training"), **old)
    torch.save({"module." + name: tensor for name, tensor in state.items()}, path("data_parallel"))
    torch.save({"state_dict": ordered, "iteration": 5}, path("state_dict"))
    # Averages of the parameters alone: the model's own weights are complete.
    torch.save({"model": ordered, "ema_state_dict": {"f32": torch.zeros(5, 7)}}, path("partial_average"))
    deflate(path("new"), path("deflated"))
    stream(path("new"), path("streamed"))

    unsupported = {"f64": "F64", "i16": "I16"}
    parts = {"training": "ema.module", "old_training": "ema.module", "state_dict": "state_dict",
             "partial_average": "model"}
    names = sorted(name[:-4] for name in os.listdir(folder) if name.endswith(".pth"))
    with open(os.path.join(folder, "expected.json"), "w") as file:
        json.dump({"parts": {name: parts.get(name, "") for name in names}, "unsupported": unsupported}, file, indent=1)
        file.write("\n")
    save_file({name: tensor.detach().clone().contiguous() for name, tensor in state.items() if name not in unsupported},
              os.path.join(folder, "expected.safetensors"))
    print({name: os.path.getsize(os.path.join(folder, name)) for name in sorted(os.listdir(folder))})


if __name__ == "__main__":
    main()
