#!/usr/bin/env python3
"""score_photo.py LABELS.txt WIDTH HEIGHT RESULTS.json... [--classes 2,5,7] [--iou 0.5]: recall and precision of COCO results
(`vistazo ... --coco`) of one photo against its YOLO labels, whatever the class: for photos whose labels name finer
classes than the model does. Detections of other categories than --classes (COCO's car, bus and truck, counted from 0,
unless given) do not count. Pairs are taken greedily, the best score first.
"""
import argparse
import json


def iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return width * height / (areas - width * height)


def truths_of(path, width, height):
    boxes = []
    for line in open(path):
        _, x, y, w, h = map(float, line.split())
        boxes.append(((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height))
    return boxes


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels")
    parser.add_argument("width", type=int)
    parser.add_argument("height", type=int)
    parser.add_argument("results", nargs="+")
    parser.add_argument("--classes", default="2,5,7")
    parser.add_argument("--iou", type=float, default=0.5)
    options = parser.parse_args()
    classes = {int(x) for x in options.classes.split(",")}
    truths = truths_of(options.labels, options.width, options.height)
    print("| results | truths | found | right | recall | precision |\n|---|---|---|---|---|---|")
    for path in options.results:
        found = [d for d in json.load(open(path)) if d["category_id"] in classes]
        found.sort(key=lambda d: -d["score"])
        free = set(range(len(truths)))
        for d in found:
            x, y, w, h = d["bbox"]
            best = max(free, key=lambda i: iou(truths[i], (x, y, x + w, y + h)), default=None)
            if best is not None and iou(truths[best], (x, y, x + w, y + h)) >= options.iou:
                free.remove(best)
        right = len(truths) - len(free)
        print(f"| {path} | {len(truths)} | {len(found)} | {right} | {right / len(truths):.3f} | "
              f"{right / len(found) if found else float('nan'):.3f} |")


if __name__ == "__main__":
    main()
