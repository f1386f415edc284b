#!/usr/bin/env python3
"""Writes tests/data/tracking/score.json: random tracks with their truth, and what py-motmetrics 1.4 says of them.

    pip install motmetrics && python tests/data/generate_tracking_data.py
"""

import json
from pathlib import Path

import motmetrics
import numpy as np


def iou_distances(truths, found):
    """1 - IoU of (x, y, width, height) boxes, NaN where they do not match."""
    distances = np.full((len(truths), len(found)), np.nan)
    for i, (ax, ay, aw, ah) in enumerate(truths):
        for j, (bx, by, bw, bh) in enumerate(found):
            shared = max(0.0, min(ax + aw, bx + bw) - max(ax, bx)) * max(0.0, min(ay + ah, by + bh) - max(ay, by))
            iou = shared / (aw * ah + bw * bh - shared)
            distances[i, j] = 1 - iou if iou >= 0.5 else np.nan
    return distances


def make_case(seed, objects, frames, noise, miss, extra, swap):
    """Objects that move straight on; tracks that shake, vanish, appear from nothing and exchange their identities."""
    random = np.random.default_rng(seed)
    position, velocity = random.uniform(0, 60, (objects, 2)), random.uniform(-2, 2, (objects, 2))
    size = random.uniform(8, 30, (objects, 2))
    identity = list(range(100, 100 + objects))
    accumulator = motmetrics.MOTAccumulator(auto_id=True)
    sequence = []
    for _ in range(frames):
        position += velocity
        visible = [i for i in range(objects) if random.random() > 0.05]
        truths = [[i + 1, *position[i], *size[i]] for i in visible]
        if random.random() < swap:
            a, b = random.choice(objects, 2, replace=False)
            identity[a], identity[b] = identity[b], identity[a]
        found = [
            [identity[i], *(position[i] + random.normal(0, noise, 2)), *(size[i] * random.uniform(0.9, 1.1, 2))]
            for i in range(objects)
            if random.random() > miss
        ]
        if random.random() < extra:
            found.append([int(random.integers(1000, 1004)), *random.uniform(0, 60, 2), 12.0, 12.0])
        truths, found = ([[row[0], *(round(float(v), 3) for v in row[1:])] for row in rows] for rows in (truths, found))
        boxes = [[row[1:] for row in rows] for rows in (truths, found)]
        accumulator.update([row[0] for row in truths], [row[0] for row in found], iou_distances(*boxes))
        sequence.append({"truths": truths, "found": found})
    names = {"mota": "mota", "idf1": "idf1", "num_objects": "truths", "num_predictions": "found", "num_misses": "misses",
             "num_false_positives": "false_positives", "num_switches": "switches"}
    metrics = motmetrics.metrics.create().compute(accumulator, metrics=list(names), name="case")
    expected = {ours: float(metrics[theirs].iloc[0]) for theirs, ours in names.items()}
    return {"frames": sequence, "expected": expected}


def main():
    cases = [
        make_case(1, objects=1, frames=20, noise=1.0, miss=0.1, extra=0.2, swap=0.0),
        make_case(2, objects=5, frames=30, noise=2.0, miss=0.1, extra=0.3, swap=0.2),
        make_case(3, objects=9, frames=30, noise=4.0, miss=0.3, extra=0.5, swap=0.4),
    ]
    path = Path(__file__).parent / "tracking" / "score.json"
    path.write_text(json.dumps(cases) + "\n")
    print(path, path.stat().st_size, [case["expected"] for case in cases])


if __name__ == "__main__":
    main()
