#!/usr/bin/env python3
"""DEIMv2's published ONNX files in ONNX Runtime, beside vistazo on the same weights and COCO images.

    eval_onnx.py MODEL.onnx[=WEIGHTS] ... --images DIR --annotations FILE.json [--vistazo PATH]
(onnxruntime, onnx, pillow, pycocotools; images are stretched by Pillow as the authors' validation does)

Without WEIGHTS they are taken out of the ONNX file (tests/data/weights_of_onnx.py). Prints the average precision of both
and how far boxes and scores are apart, for all that ONNX Runtime scores 0.2 or more. Fails where precision differs by
more than 0.002, a score by more than 0.005, or boxes overlap less than 0.99.
"""
import argparse
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

PRECISION_TOLERANCE, SCORE_TOLERANCE, LEAST_IOU = 0.002, 0.005, 0.99
MIN_SCORE = 0.2  # of the detections that are compared one by one
WEIGHTS_OF_ONNX = os.path.join(os.path.dirname(__file__), "..", "..", "data", "weights_of_onnx.py")


def peer_results(model: str, images: str, annotations: str) -> tuple[float, dict[str, list]]:
    """-> the average precision; (class, box, score) of the detections of each file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    _, _, height, width = session.get_inputs()[0].shape
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(annotations)
        categories = sorted(truth.getCatIds())  # the 80 classes, in the order of COCO's ids
        results, found = [], {}
        for image in truth.loadImgs(truth.getImgIds()):
            picture = Image.open(os.path.join(images, image["file_name"])).convert("RGB")
            # In two steps: Pillow 13 begins with the height of some images, older ones and vistazo never do, and a
            # level of rounding moves scores by up to 0.03.
            wide = picture.resize((width, picture.height), Image.BILINEAR)
            stretched = np.asarray(wide.resize((width, height), Image.BILINEAR), np.float32) / 255
            pixels = stretched.transpose(2, 0, 1)[None]
            size = np.array([[picture.width, picture.height]], np.int64)
            inputs = {"images": pixels, "orig_target_sizes": size}
            labels, boxes, scores = session.run(["labels", "boxes", "scores"], inputs)
            inside = np.clip(boxes[0], 0, [picture.width, picture.height] * 2)
            found[image["file_name"]] = list(zip(labels[0].tolist(), inside.tolist(), scores[0].tolist()))
            for label, (x0, y0, x1, y1), score in zip(labels[0], boxes[0].tolist(), scores[0].tolist()):
                results.append({"image_id": image["id"], "category_id": categories[label], "score": score,
                                "bbox": [x0, y0, x1 - x0, y1 - y0]})
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0]), found


def our_precision(binary: str, model: str, images: str, annotations: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        metrics = os.path.join(folder, "metrics.json")
        subprocess.run([binary, "eval", "--model", model, "--device", "cpu", "--precision", "f32", "--threads", "2",
                        "--images", images, "--annotations", annotations, "--json", metrics],
                       check=True, stdout=subprocess.DEVNULL)
        with open(metrics) as file:
            return json.load(file)["AP"]


def our_detections(binary: str, model: str, images: str, names: list[str]) -> dict[str, list]:
    with tempfile.TemporaryDirectory() as folder:
        boxes = os.path.join(folder, "boxes.json")
        subprocess.run([binary, "detect", "--model", model, "--device", "cpu", "--precision", "f32", "--threads", "2",
                        "--min-score", str(MIN_SCORE - SCORE_TOLERANCE), "--json", boxes,
                        *(os.path.join(images, name) for name in names)], check=True, stdout=subprocess.DEVNULL)
        with open(boxes) as file:
            found = json.load(file)["images"]
    return {os.path.basename(image["path"]): [(d["class_id"], d["box"], d["score"]) for d in image["detections"]]
            for image in found}


def overlap(a: list[float], b: list[float]) -> float:
    width, height = (max(0.0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in (0, 1))
    union = sum((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)) - width * height
    return width * height / union if union > 0 else 0.0


def compare_boxes(ours: dict[str, list], theirs: dict[str, list]) -> tuple[int, float, float]:
    """-> how many of theirs were compared, the least overlap, the largest difference of scores."""
    count, least, largest = 0, 1.0, 0.0
    for name, peers in theirs.items():
        left = list(ours[name])
        for label, box, score in peers:
            if score < MIN_SCORE:
                continue
            nearest = max((d for d in left if d[0] == label), key=lambda d: overlap(d[1], box), default=None)
            count += 1
            if nearest is None:
                return count, 0.0, 1.0
            left.remove(nearest)  # one of ours for each of theirs
            least, largest = min(least, overlap(nearest[1], box)), max(largest, abs(nearest[2] - score))
        if any(score >= MIN_SCORE + SCORE_TOLERANCE for _, _, score in left):
            return count, 0.0, 1.0
    return count, least, largest


def compare(onnx: str, weights: str, options: argparse.Namespace) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        if not weights:
            weights = os.path.join(folder, "model.safetensors")
            subprocess.run([sys.executable, WEIGHTS_OF_ONNX, onnx, weights], check=True)
        precision, theirs = peer_results(onnx, options.images, options.annotations)
        ours = our_precision(options.vistazo, weights, options.images, options.annotations)
        count, least, largest = compare_boxes(our_detections(options.vistazo, weights, options.images, list(theirs)),
                                              theirs)
    is_right = (abs(ours - precision) <= PRECISION_TOLERANCE and least >= LEAST_IOU and largest <= SCORE_TOLERANCE)
    print(f"{os.path.basename(onnx)}: AP vistazo {ours:.4f}, ONNX Runtime {precision:.4f}; {count} detections, IoU at "
          f"least {least:.4f}, scores within {largest:.1e}{'' if is_right else '   WRONG'}", flush=True)
    return is_right


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL.onnx[=WEIGHTS]")
    parser.add_argument("--images", required=True)
    parser.add_argument("--annotations", required=True)
    parser.add_argument("--vistazo", default="build/release/vistazo")
    options = parser.parse_intermixed_args()
    right = [compare(*text.partition("=")[::2], options) for text in options.models]
    sys.exit(0 if all(right) else 1)


if __name__ == "__main__":
    main()
