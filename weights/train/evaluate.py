#!/usr/bin/env python3
"""Average precision and duplicate rate of a model folder on a COCO-format validation split, in float32 (no TF32)."""

import argparse
from dataclasses import dataclass

import numpy as np
import torch

from augment import splice
from boxes import to_corners
from data import Split, load_split, pad_targets
from model import load_folder, normalise

IOU_THRESHOLDS = np.arange(0.5, 1.0, 0.05)
RECALLS = np.linspace(0, 1, 101)
MOST_PER_CLASS = 100  # detections of one class an image that count, as in COCO
LOWEST_SCORE = 0.02  # detections below are left out of the average precision
SHOWN_SCORE = 0.3  # the score from which a detection is normally drawn


@dataclass
class Result:
    """precision (classes, 10): average precision by class and IoU threshold; shown: detections of SHOWN_SCORE or more;
    duplicates: those of them that repeat a better one; objects: annotated ones."""

    precision: np.ndarray
    shown: int
    duplicates: int
    objects: int
    names: list[str]

    @property
    def ap(self):
        return float(np.nanmean(self.precision))

    @property
    def ap50(self):
        return float(np.nanmean(self.precision[:, 0]))

    @property
    def ap75(self):
        return float(np.nanmean(self.precision[:, 5]))

    @property
    def duplicate_rate(self):
        return self.duplicates / max(1, self.shown)

    def summary(self):
        return (
            f"AP {self.ap:.4f} AP50 {self.ap50:.4f} AP75 {self.ap75:.4f} duplicates {100 * self.duplicate_rate:.2f} % "
            f"({self.duplicates} of {self.shown} detections >= {SHOWN_SCORE}; {self.objects} objects)"
        )

    def table(self):
        rows = ["| class | AP | AP50 | AP75 |", "|---|---|---|---|"]
        for name, row in zip(self.names, self.precision):
            rows.append(f"| {name} | {row.mean():.3f} | {row[0]:.3f} | {row[5]:.3f} |")
        return "\n".join(rows)


def evaluate(model, split, batch=64, autocast=False):
    """Run the model over a `data.Split` and score it."""
    found = detect(model, split.images, batch, autocast)
    wanted = [torch.cat([rows[:, :1], to_corners(rows[:, 1:])], dim=1).numpy() for rows in split.targets]
    shown, duplicates = count_duplicates(found)
    precise = [rows[rows[:, 4] > LOWEST_SCORE] for rows in found]
    precision = average_precision(precise, wanted, len(split.names))
    return Result(precision, shown, duplicates, sum(map(len, wanted)), split.names)


def spliced(split, seed=0):
    """The split seen through windows over four of its images each (`augment.splice`), the same ones on any device."""
    torch.manual_seed(seed)
    order = torch.randperm(len(split))
    targets = [split.targets[index] for index in order]
    boxes, valid = pad_targets(targets, max(map(len, targets)), "cpu")
    images, boxes, valid = splice(split.images.cpu()[order], boxes, valid, chance=1.0)
    return Split(images.to(split.images.device), [rows[kept] for rows, kept in zip(boxes, valid)], split.names)


@torch.inference_mode()
def detect(model, images, batch, autocast):
    """uint8 (N, 3, S, S) -> N arrays (queries, 6): left, top, right, bottom (fractions), score, class; best first."""
    found = []
    for part in images.split(batch):
        with torch.autocast(part.device.type, torch.bfloat16, enabled=autocast):
            outputs = model(pixel_values=normalise(part.float() / 255))
        scores = outputs.logits.float().sigmoid()
        classes = scores.shape[2]
        best, index = scores.flatten(1).topk(scores.shape[1])
        boxes = outputs.pred_boxes.float().gather(1, (index // classes)[..., None].expand(-1, -1, 4))
        rows = torch.cat([to_corners(boxes), best[..., None], (index % classes)[..., None].float()], dim=-1)
        found.extend(rows.cpu().numpy())
    return found


def pairwise_iou(a, b):
    """Corner boxes (n, 4), (m, 4) -> (n, m)."""
    top_left = np.maximum(a[:, None, :2], b[None, :, :2])
    bottom_right = np.minimum(a[:, None, 2:], b[None, :, 2:])
    intersection = (bottom_right - top_left).clip(0).prod(axis=-1)
    area_a, area_b = (a[:, 2:] - a[:, :2]).prod(axis=-1), (b[:, 2:] - b[:, :2]).prod(axis=-1)
    return intersection / np.maximum(area_a[:, None] + area_b[None] - intersection, 1e-9)


def count_duplicates(found, least_iou=0.5):
    """Of the detections with SHOWN_SCORE or more: how many there are, and how many overlap (IoU >= `least_iou`) a
    higher-scored one of the same class."""
    shown = duplicates = 0
    for rows in found:
        rows = rows[rows[:, 4] >= SHOWN_SCORE]
        rows = rows[np.argsort(-rows[:, 4], kind="stable")]
        same_class = rows[:, None, 5] == rows[None, :, 5]
        better = np.tri(len(rows), k=-1, dtype=bool)  # the column is an earlier row
        repeats = (pairwise_iou(rows[:, :4], rows[:, :4]) >= least_iou) & same_class & better
        shown += len(rows)
        duplicates += int(repeats.any(axis=1).sum())
    return shown, duplicates


def average_precision(found, wanted, classes):
    """COCO's average precision (101 recall points), by class and IoU threshold -> (classes, 10); NaN without objects.

    found: an array (n, 6) an image, as `detect` gives; wanted: an array (m, 5) an image, class and corners.
    """
    precision = np.full((classes, len(IOU_THRESHOLDS)), np.nan)
    for label in range(classes):
        scores, correct, objects = [], [], 0
        for rows, truth in zip(found, wanted):
            truth = truth[truth[:, 0] == label, 1:]
            rows = rows[rows[:, 5] == label]
            rows = rows[np.argsort(-rows[:, 4], kind="stable")][:MOST_PER_CLASS]
            objects += len(truth)
            scores.append(rows[:, 4])
            correct.append(true_positives(pairwise_iou(rows[:, :4], truth)))
        if objects:
            order = np.argsort(-np.concatenate(scores), kind="stable")
            precision[label] = interpolated_precision(np.concatenate(correct)[order], objects)
    return precision


def true_positives(iou):
    """iou (n, m) of one image's detections, best first, with its objects -> (n, 10) bool: right at each threshold.

    A detection takes the object it overlaps most of those not yet taken, if the overlap reaches the threshold.
    """
    correct = np.zeros((len(iou), len(IOU_THRESHOLDS)), dtype=bool)
    if not iou.size:
        return correct
    for column, threshold in enumerate(IOU_THRESHOLDS):
        free = iou.copy()
        for row in np.flatnonzero(iou.max(axis=1) >= threshold):
            taken = free[row].argmax()
            if free[row, taken] >= threshold:
                correct[row, column] = True
                free[:, taken] = -1
    return correct


def interpolated_precision(correct, objects):
    """correct (n, 10) bool, best detection first -> the mean over RECALLS of the best precision from there on."""
    hits = correct.cumsum(axis=0)
    recall = hits / objects
    precision = hits / np.arange(1, len(correct) + 1)[:, None]
    precision = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    means = []
    for column in range(correct.shape[1]):
        index = np.searchsorted(recall[:, column], RECALLS)
        means.append(np.append(precision[:, column], 0.0)[index].mean())
    return means


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help="folder with images/ and instances_val.json")
    parser.add_argument("model", help="folder with model.safetensors and config.json")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cuda or cpu")
    parser.add_argument("--batch", type=int, default=32, help="images at a time")
    parser.add_argument("--limit", type=int, help="only the first so many images")
    parser.add_argument("--spliced", action="store_true", help="look through windows over four images each")
    options = parser.parse_args()

    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    model = load_folder(options.model, options.device)
    size = model.config.backbone_config.image_size
    split = load_split(options.data, "val", size, options.device, options.limit)
    if options.spliced:
        split = spliced(split)
    result = evaluate(model, split, options.batch)
    print(result.summary())
    print(result.table())


if __name__ == "__main__":
    main()
