"""A COCO-format folder, held whole in (GPU) memory: `images/` and `instances_{train,val}.json`."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image


@dataclass
class Split:
    """Every image of one split, stretched to one square size.

    images   (N, 3, size, size) uint8, RGB
    targets  N tensors (objects, 5): class, centre x, centre y, width, height, the last four as fractions of the image
    names    the class names, by class index
    """

    images: torch.Tensor
    targets: list[torch.Tensor]
    names: list[str]

    def __len__(self):
        return len(self.targets)


def load_split(folder, split, size, device, limit=None):
    """Read `instances_<split>.json` and its images; with `limit`, the first so many only. Crowds are left out."""
    folder = Path(folder)
    annotations = json.loads((folder / f"instances_{split}.json").read_text())
    records = annotations["images"][:limit]
    categories = sorted(annotations["categories"], key=lambda category: category["id"])
    class_of = {category["id"]: index for index, category in enumerate(categories)}

    objects = {record["id"]: [] for record in annotations["images"]}
    for note in annotations["annotations"]:
        if not note.get("iscrowd"):
            objects[note["image_id"]].append((class_of[note["category_id"]], *note["bbox"]))

    def read(record):
        image = Image.open(folder / "images" / record["file_name"]).convert("RGB")
        width, height = image.size
        pixels = np.asarray(image.resize((size, size), Image.BILINEAR))  # Pillow's bilinear filter is antialiased
        rows = [
            (label, (left + w / 2) / width, (top + h / 2) / height, w / width, h / height)
            for label, left, top, w, h in objects[record["id"]]
        ]
        return pixels, torch.tensor(rows, dtype=torch.float32).reshape(-1, 5)

    with ThreadPoolExecutor(16) as pool:
        loaded = list(pool.map(read, records))

    images = torch.from_numpy(np.stack([pixels for pixels, _ in loaded])).to(device).permute(0, 3, 1, 2)
    return Split(images, [targets for _, targets in loaded], [category["name"] for category in categories])


def pad_targets(targets, most, device):
    """N ragged (objects, 5) tensors -> boxes (N, most, 5) and valid (N, most) bool; objects past `most` are dropped."""
    boxes = torch.zeros(len(targets), most, 5)
    valid = torch.zeros(len(targets), most, dtype=torch.bool)
    for index, rows in enumerate(targets):
        count = min(len(rows), most)
        boxes[index, :count] = rows[:count]
        valid[index, :count] = True
    return boxes.to(device), valid.to(device)
