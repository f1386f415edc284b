#!/usr/bin/env python3
"""Exports a Hugging Face folder of a detector to ONNX: float32, batch 1, the square input size that its config names, or
640 where it names none (RT-DETR).

    export_onnx.py MODEL_DIR OUT.onnx

The graph takes `pixel_values` (1, 3, S, S) and gives `logits` and `pred_boxes`. It is run once with ONNX Runtime
and compared with PyTorch before the script ends; a difference is an error.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from transformers import AutoModelForObjectDetection

DEFAULT_SIZE = 640
OPSET = 20  # the first with GELU as one operator
TOLERANCE = 2e-3  # of a logit of magnitude 10; float32 sums in another order differ by about 1e-5


class LogitsAndBoxes(torch.nn.Module):
    """The detector with plain tensors for arguments and results."""

    def __init__(self, detector):
        super().__init__()
        self.detector = detector

    def forward(self, pixel_values):
        output = self.detector(pixel_values=pixel_values)
        return output.logits, output.pred_boxes


def export(model_dir, onnx_path, attention):
    """Writes the ONNX file and returns (PyTorch module, example input)."""
    detector = AutoModelForObjectDetection.from_pretrained(
        model_dir, dtype=torch.float32, attn_implementation=attention, local_files_only=True
    ).eval()
    size = getattr(detector.config.backbone_config, "image_size", DEFAULT_SIZE)
    pixel_values = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1))
    module = LogitsAndBoxes(detector).eval()
    with torch.inference_mode(False), torch.no_grad():
        torch.onnx.export(
            module,
            (pixel_values,),
            str(onnx_path),
            input_names=["pixel_values"],
            output_names=["logits", "pred_boxes"],
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
        )
    return module, pixel_values


def largest_differences(module, pixel_values, onnx_path):
    """Largest absolute differences of logits and boxes between PyTorch and ONNX Runtime."""
    session = onnxruntime.InferenceSession(str(onnx_path), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = module(pixel_values)
    actual = session.run(["logits", "pred_boxes"], {"pixel_values": pixel_values.numpy()})
    return [float(np.abs(e.numpy() - a).max()) for e, a in zip(expected, actual)]


def main():
    """Exports, checks and reports."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("onnx", type=Path)
    parser.add_argument("--attention", choices=["sdpa", "eager"], help="SDPA wherever the model has it")
    arguments = parser.parse_args()
    arguments.onnx.parent.mkdir(parents=True, exist_ok=True)
    module, pixel_values = export(arguments.model_dir, arguments.onnx, arguments.attention)
    onnx.checker.check_model(str(arguments.onnx))
    logits, boxes = largest_differences(module, pixel_values, arguments.onnx)
    print(f"{arguments.onnx}: {arguments.onnx.stat().st_size} bytes, opset {OPSET}, input {tuple(pixel_values.shape)}")
    print(f"largest difference from PyTorch: logits {logits:.2e}, boxes {boxes:.2e}")
    if logits > TOLERANCE:
        sys.exit("the exported model does not agree with PyTorch")


if __name__ == "__main__":
    main()
