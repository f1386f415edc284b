#!/usr/bin/env python3
"""COCO average precision of DEIMv2's ONNX files by ONNX Runtime, beside `vistazo eval` on the same images.

Usage: eval_onnx.py VISTAZO MODEL.safetensors MODEL.onnx IMAGES ANNOTATIONS.json
(onnxruntime, pillow, pycocotools; images are stretched by Pillow as the authors' validation does)

Prints both figures and fails where they differ by more than 0.002.
"""
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnxruntime
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

TOLERANCE = 0.002


def peer_precision(model: str, images: str, annotations: str) -> float:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    _, _, height, width = session.get_inputs()[0].shape
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(annotations)
        categories = sorted(truth.getCatIds())  # the 80 classes, in the order of COCO's ids
        results = []
        for image in truth.loadImgs(truth.getImgIds()):
            picture = Image.open(os.path.join(images, image["file_name"])).convert("RGB")
            stretched = np.asarray(picture.resize((width, height), Image.BILINEAR), np.float32) / 255
            pixels = stretched.transpose(2, 0, 1)[None]
            size = np.array([[picture.width, picture.height]], np.int64)
            inputs = {"images": pixels, "orig_target_sizes": size}
            labels, boxes, scores = session.run(["labels", "boxes", "scores"], inputs)
            for label, (x0, y0, x1, y1), score in zip(labels[0], boxes[0].tolist(), scores[0].tolist()):
                results.append({"image_id": image["id"], "category_id": categories[label], "score": score,
                                "bbox": [x0, y0, x1 - x0, y1 - y0]})
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])


def our_precision(binary: str, model: str, images: str, annotations: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        metrics = os.path.join(folder, "metrics.json")
        subprocess.run([binary, "eval", "--model", model, "--device", "cpu", "--precision", "f32", "--threads", "2",
                        "--images", images, "--annotations", annotations, "--json", metrics],
                       check=True, stdout=subprocess.DEVNULL)
        with open(metrics) as file:
            return json.load(file)["AP"]


def main() -> None:
    if len(sys.argv) != 6:
        sys.exit(__doc__)
    binary, weights, onnx, images, annotations = sys.argv[1:]
    ours, theirs = our_precision(binary, weights, images, annotations), peer_precision(onnx, images, annotations)
    print(f"AP: vistazo {ours:.4f}, ONNX Runtime {theirs:.4f}")
    if abs(ours - theirs) > TOLERANCE:
        sys.exit(f"they differ by more than {TOLERANCE}")


if __name__ == "__main__":
    main()
