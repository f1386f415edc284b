#!/usr/bin/env python3
"""Writes the stored reference data of the tests: what Pillow, PyTorch, Transformers and pycocotools answer.

    generate_reference_data.py OUT_DIR [--only NAME ...]

Each case is one function that fills one folder of OUT_DIR; every case has its own seed, so a case can be
regenerated alone. Needs numpy, pillow, torch, transformers, safetensors and pycocotools; `versions.json` in OUT_DIR
names the versions that were used. Tensors are float32 and C-contiguous unless a docstring says otherwise.
"""

import argparse
import contextlib
import importlib.metadata
import io
import json
import struct
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, features
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from safetensors.torch import save_file
from transformers.models.rf_detr.modeling_rf_detr import (
    MultiScaleDeformableAttention,
    encode_sinusoidal_position_embedding,
)


def write_json(path, value, indent=None):
    """Writes `value` as JSON with a final newline, compact unless an indent is given."""
    separators = None if indent else (",", ":")
    path.write_text(json.dumps(value, indent=indent, separators=separators, sort_keys=False) + "\n")


def save_tensors(path, tensors, description):
    """Writes a safetensors file whose metadata says what the tensors are."""
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, {"description": description})


def channels_last(batch):
    """(1, C, H, W) -> contiguous (H, W, C)."""
    return batch[0].permute(1, 2, 0).contiguous()


# ---------------------------------------------------------------------------------------------------------------------
# resize


def synthetic_rgb(rng, height, width, kind):
    """An RGB uint8 image: `noise`, `gradient`, or `mixed` (gradient, hard edges and some noise)."""
    rows, columns = np.mgrid[0:height, 0:width]
    gradient = np.stack(
        [
            255.0 * columns / max(width - 1, 1),
            255.0 * rows / max(height - 1, 1),
            255.0 * (rows + columns) / max(height + width - 2, 1),
        ],
        axis=-1,
    )
    if kind == "noise":
        return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    if kind == "gradient":
        return np.rint(gradient).astype(np.uint8)
    checker = ((rows // 5 + columns // 3) % 2 * 120)[..., None]
    mixed = 0.5 * gradient + checker + rng.normal(0.0, 12.0, (height, width, 3))
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def generate_resize(out_dir):
    """resize/resize.safetensors: bilinear resize, with and without antialiasing.

    caseN_in      (H, W, 3) uint8
    caseN_pillow  (h, w, 3) uint8, Pillow Image.resize(BILINEAR), which always antialiases
    caseN_torch   (h, w, 3) float32 in 0..255, interpolate(mode="bilinear", antialias=True, align_corners=False)
    caseN_noaa    (h, w, 3) float32 in 0..255, the same with antialias=False
    """
    rng = np.random.default_rng(101)
    cases = [  # input height, width, output height, width, content
        (37, 53, 40, 56, "noise"),  # slightly up
        (200, 133, 24, 40, "mixed"),  # far down, not the same ratio in both directions
        (17, 17, 17, 17, "noise"),  # the same size: a copy
        (150, 101, 15, 14, "noise"),  # wide filters
        (5, 3, 30, 30, "noise"),  # far up
        (20, 60, 33, 25, "gradient"),  # up in one direction, down in the other
    ]
    tensors = {}
    for index, (height, width, out_height, out_width, kind) in enumerate(cases):
        pixels = synthetic_rgb(rng, height, width, kind)
        batch = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
        resized = Image.fromarray(pixels).resize((out_width, out_height), Image.Resampling.BILINEAR)
        tensors[f"case{index}_in"] = torch.from_numpy(pixels)
        tensors[f"case{index}_pillow"] = torch.from_numpy(np.array(resized))
        for name, antialias in (("torch", True), ("noaa", False)):
            tensors[f"case{index}_{name}"] = channels_last(
                torch.nn.functional.interpolate(
                    batch, size=(out_height, out_width), mode="bilinear", align_corners=False, antialias=antialias
                )
            )
    save_tensors(out_dir / "resize.safetensors", tensors, "bilinear resize of RGB images, Pillow and PyTorch")


# ---------------------------------------------------------------------------------------------------------------------
# posembed


def generate_posembed(out_dir):
    """posembed/posembed.safetensors: interpolation of a grid of position embeddings, align_corners=False throughout.

    caseN_in (h, w, C); caseN_bicubic, caseN_bicubic_aa, caseN_bilinear and caseN_bilinear_aa (h', w', C).
    RF-DETR's backbone (RfDetrDinov2Embeddings.interpolate_pos_encoding) uses bicubic with antialias=True.
    """
    generator = torch.Generator().manual_seed(202)
    cases = [(12, 12, 10, 14), (37, 37, 16, 16), (8, 8, 24, 24), (16, 16, 16, 16), (7, 9, 13, 6)]
    tensors = {}
    for index, (height, width, out_height, out_width) in enumerate(cases):
        grid = torch.randn(1, 5, height, width, generator=generator)
        tensors[f"case{index}_in"] = channels_last(grid)
        for mode in ("bicubic", "bilinear"):
            for suffix, antialias in (("", False), ("_aa", True)):
                tensors[f"case{index}_{mode}{suffix}"] = channels_last(
                    torch.nn.functional.interpolate(
                        grid, size=(out_height, out_width), mode=mode, align_corners=False, antialias=antialias
                    )
                )
    save_tensors(out_dir / "posembed.safetensors", tensors, "interpolated position embeddings, PyTorch")


# ---------------------------------------------------------------------------------------------------------------------
# coco_eval

COCO_CATEGORIES = [(1, "person"), (2, "bicycle"), (5, "airplane"), (7, "train"), (90, "toothbrush"), (91, "unused")]


def synthetic_ground_truth(rng):
    """A COCO ground truth of 40 images: small, medium and large objects, crowds, images without any object.

    Category 90 has no large object and category 91 no annotation at all, so that some numbers are undefined (-1).
    An annotation's `area` is less than its box's, as with segmented objects, and decides its size class.
    """
    image_ids = sorted(rng.choice(np.arange(10, 900), 40, replace=False).tolist())
    images = [{"id": i, "width": 640, "height": 480, "file_name": f"{i:06d}.jpg"} for i in image_ids]
    empty_images = set(image_ids[3::9])
    side_ranges = {"small": (6, 30), "medium": (36, 92), "large": (110, 300)}
    annotations = []
    for image_id in image_ids:
        if image_id in empty_images:
            continue
        for _ in range(int(rng.integers(1, 9))):
            category = int(rng.choice([1, 2, 5, 7, 90], p=[0.4, 0.2, 0.15, 0.15, 0.1]))
            sizes = ["small", "medium"] if category == 90 else ["small", "medium", "large"]
            low, high = side_ranges[str(rng.choice(sizes))]
            width, height = (float(v) for v in np.round(rng.uniform(low, high, 2), 2))
            x = round(float(rng.uniform(0, 640 - width)), 2)
            y = round(float(rng.uniform(0, 480 - height)), 2)
            is_crowd = int(category in (1, 2) and rng.random() < 0.15)
            annotations.append(
                {
                    "id": 0,
                    "image_id": image_id,
                    "category_id": category,
                    "bbox": [x, y, width, height],
                    "area": round(width * height * float(rng.uniform(0.6, 1.0)), 2),
                    "iscrowd": is_crowd,
                }
            )
    order = rng.permutation(len(annotations))
    annotations = [annotations[i] for i in order]
    for index, annotation in enumerate(annotations):
        annotation["id"] = index + 1
    categories = [{"id": i, "name": name} for i, name in COCO_CATEGORIES]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def synthetic_detections(rng, ground_truth):
    """Detections for `synthetic_ground_truth`: jittered truths, duplicates, wrong classes and false positives.

    Scores have two decimals, so there are many ties. One image has 340 detections of one category whose true
    positives rank low, so that a limit of 100 and one of 300 detections give different numbers.
    """
    detections = []

    def add(image_id, category, box, score):
        box = [round(float(v), 2) for v in box]
        score = round(min(max(float(score), 0.01), 0.99), 2)
        detections.append({"image_id": image_id, "category_id": category, "bbox": box, "score": score})

    def jitter(box, amount):
        x, y, width, height = box
        shift = rng.normal(0.0, amount, 2)
        scale = np.exp(rng.normal(0.0, amount, 2))
        return [x + shift[0] * width, y + shift[1] * height, width * scale[0], height * scale[1]]

    def random_box():
        width, height = np.exp(rng.uniform(np.log(6), np.log(250), 2))
        return [rng.uniform(0, 640 - width), rng.uniform(0, 480 - height), width, height]

    categories = [i for i, _ in COCO_CATEGORIES[:5]]
    for annotation in ground_truth["annotations"]:
        image_id, category, box = annotation["image_id"], annotation["category_id"], annotation["bbox"]
        if annotation["iscrowd"]:
            x, y, width, height = box
            for _ in range(3):  # inside the crowd: neither right nor wrong
                inner = [x + rng.uniform(0, 0.6) * width, y + rng.uniform(0, 0.6) * height, 0.4 * width, 0.4 * height]
                add(image_id, category, inner, rng.uniform(0.2, 0.9))
            continue
        if rng.random() < 0.85:
            add(image_id, category, jitter(box, float(rng.choice([0.0, 0.02, 0.06, 0.15]))), rng.beta(4, 2))
        if rng.random() < 0.25:
            add(image_id, category, jitter(box, 0.05), rng.uniform(0.1, 0.8))
        if rng.random() < 0.10:
            add(image_id, int(rng.choice(categories)), jitter(box, 0.03), rng.uniform(0.1, 0.8))
    for image in ground_truth["images"]:
        for _ in range(int(rng.integers(0, 4))):
            add(image["id"], int(rng.choice(categories)), random_box(), rng.beta(2, 4))

    person_boxes = {}
    for annotation in ground_truth["annotations"]:
        if annotation["category_id"] == 1 and not annotation["iscrowd"]:
            person_boxes.setdefault(annotation["image_id"], []).append(annotation["bbox"])
    crowded_image = max(person_boxes, key=lambda image_id: len(person_boxes[image_id]))
    detections = [d for d in detections if d["image_id"] != crowded_image or d["category_id"] != 1]
    for index in range(340 - len(person_boxes[crowded_image])):
        add(crowded_image, 1, random_box(), 0.97 - 0.0028 * index)
    for rank, box in enumerate(person_boxes[crowded_image]):
        add(crowded_image, 1, jitter(box, 0.03), [0.9, 0.6, 0.4, 0.02][rank % 4])
    add(ground_truth["images"][0]["id"], 91, random_box(), 0.5)
    return [detections[i] for i in rng.permutation(len(detections))]


def mean_of_defined(values):
    """pycocotools' mean: entries of -1 have no ground truth and do not count; -1 if none is left."""
    defined = values[values > -1]
    return float(np.mean(defined)) if defined.size else -1.0


def summarize(evaluation):
    """The 12 numbers of COCO, then those of each category, at the largest `maxDets` that `evaluation` used.

    pycocotools' own summarize() looks the first number up at maxDets=100 whatever its parameters say; here all of
    them but AR_1 and AR_10 are taken at the largest limit.
    """
    precision = evaluation.eval["precision"]  # IoU threshold, recall, category, area, limit
    recall = evaluation.eval["recall"]  # IoU threshold, category, area, limit
    iou_50 = int(np.argmin(np.abs(evaluation.params.iouThrs - 0.5)))
    iou_75 = int(np.argmin(np.abs(evaluation.params.iouThrs - 0.75)))
    numbers = {
        "AP": mean_of_defined(precision[:, :, :, 0, 2]),
        "AP50": mean_of_defined(precision[iou_50, :, :, 0, 2]),
        "AP75": mean_of_defined(precision[iou_75, :, :, 0, 2]),
        "AP_small": mean_of_defined(precision[:, :, :, 1, 2]),
        "AP_medium": mean_of_defined(precision[:, :, :, 2, 2]),
        "AP_large": mean_of_defined(precision[:, :, :, 3, 2]),
        "AR_1": mean_of_defined(recall[:, :, 0, 0]),
        "AR_10": mean_of_defined(recall[:, :, 0, 1]),
        "AR_max": mean_of_defined(recall[:, :, 0, 2]),
        "AR_small": mean_of_defined(recall[:, :, 1, 2]),
        "AR_medium": mean_of_defined(recall[:, :, 2, 2]),
        "AR_large": mean_of_defined(recall[:, :, 3, 2]),
    }
    categories = [
        {
            "category_id": int(category),
            "AP": mean_of_defined(precision[:, :, k, 0, 2]),
            "AP50": mean_of_defined(precision[iou_50, :, k, 0, 2]),
            "AR_max": mean_of_defined(recall[:, k, 0, 2]),
        }
        for k, category in enumerate(evaluation.params.catIds)
    ]
    return {"max_detections": list(evaluation.params.maxDets), "summary": numbers, "categories": categories}


def generate_coco_eval(out_dir):
    """coco_eval/: gt.json, detections.json and expected.json, pycocotools' box evaluation of them.

    expected.json is {"evaluations": [for limits 1,10,100, for limits 1,10,300]}; each has `max_detections`, `summary`
    (the 12 numbers) and `categories` (AP, AP50 and AR_max). -1 means no ground truth.
    """
    rng = np.random.default_rng(303)
    ground_truth = synthetic_ground_truth(rng)
    detections = synthetic_detections(rng, ground_truth)
    write_json(out_dir / "gt.json", ground_truth)
    write_json(out_dir / "detections.json", detections)
    evaluations = []
    with contextlib.redirect_stdout(io.StringIO()):
        for limits in ([1, 10, 100], [1, 10, 300]):
            truth = COCO(str(out_dir / "gt.json"))
            evaluation = COCOeval(truth, truth.loadRes(str(out_dir / "detections.json")), "bbox")
            evaluation.params.maxDets = limits
            evaluation.evaluate()
            evaluation.accumulate()
            numbers = summarize(evaluation)
            if limits[-1] == 100:
                evaluation.summarize()
                np.testing.assert_array_equal(list(numbers["summary"].values()), evaluation.stats)
            evaluations.append(numbers)
    write_json(out_dir / "expected.json", {"evaluations": evaluations}, indent=1)


# ---------------------------------------------------------------------------------------------------------------------
# images


def picture(height, width):
    """A smooth RGB picture (float, 0..1) that looks different after every rotation and mirroring."""
    rows, columns = np.mgrid[0:height, 0:width]
    rows, columns = (rows + 0.5) / height, (columns + 0.5) / width
    red = columns
    green = rows**2
    blue = 0.5 + 0.5 * np.sin(5.0 * columns + 3.0 * rows)
    return np.stack([red, green, blue], axis=-1)


def tiff_rgb16(pixels):
    """An uncompressed little-endian TIFF file of (H, W, 3) uint16 pixels, in one strip."""
    height, width, _ = pixels.shape
    entries = [  # tag, type (3: short, 4: long), count, value or offset
        (256, 3, 1, width),
        (257, 3, 1, height),
        (258, 3, 3, None),  # bits per sample: three shorts, stored after the directory
        (259, 3, 1, 1),  # no compression
        (262, 3, 1, 2),  # RGB
        (273, 4, 1, None),  # strip offset
        (277, 3, 1, 3),
        (278, 3, 1, height),
        (279, 4, 1, pixels.nbytes),
        (284, 3, 1, 1),  # interleaved
    ]
    bits_offset = 8 + 2 + 12 * len(entries) + 4
    strip_offset = bits_offset + 6
    values = {258: bits_offset, 273: strip_offset}
    directory = b"".join(struct.pack("<HHII", t, kind, n, values.get(t, value)) for t, kind, n, value in entries)
    header = struct.pack("<2sHI", b"II", 42, 8) + struct.pack("<H", len(entries))
    return header + directory + struct.pack("<I", 0) + struct.pack("<3H", 16, 16, 16) + pixels.tobytes()


def describe_pixels(pixels, tolerance, note):
    """The entry of expected.json for a file that decodes to `pixels`, (H, W, 3) uint8."""
    height, width, _ = pixels.shape
    places = [(0, 0), (width - 1, 0), (0, height - 1), (width - 1, height - 1), (width // 2, height // 2)]
    return {
        "decodes": True,
        "width": width,
        "height": height,
        "mean_rgb": [round(float(v), 4) for v in pixels.reshape(-1, 3).mean(axis=0, dtype=np.float64)],
        "samples": [{"x": x, "y": y, "rgb": pixels[y, x].tolist()} for x, y in places],
        "tolerance": tolerance,
        "note": note,
    }


def generate_images(out_dir):
    """images/: small files for a decoder's test, and expected.json, file name -> what decoding it gives.

    `width`, `height`, `mean_rgb` and `samples` are those of the upright image in 8-bit RGB as Pillow decodes it:
    alpha is dropped, not blended; 16-bit values are rounded v / 257; the EXIF orientation is applied. `tolerance`
    is how far a pixel of another decoder may be off. A file with "decodes": false is to be refused with an error.
    """
    if not features.check("webp"):
        raise RuntimeError("this Pillow has no WebP support")
    expected = {}
    rgb8 = np.rint(255.0 * picture(36, 48)).astype(np.uint8)
    rgb16 = np.rint(65535.0 * picture(36, 48)).astype(np.uint16)
    alpha = np.rint(255.0 * np.linspace(0.0, 1.0, 36 * 48).reshape(36, 48)).astype(np.uint8)
    image = Image.fromarray(rgb8)

    def add(name, tolerance, note, pixels=None):
        if pixels is None:
            with Image.open(out_dir / name) as stored:
                pixels = np.array(ImageOps.exif_transpose(stored).convert("RGB"))
        expected[name] = describe_pixels(pixels, tolerance, note)

    def grey_rgb(grey):
        return np.repeat(grey[..., None], 3, axis=-1)

    image.save(out_dir / "rgb.jpg", quality=92, subsampling=0)
    add("rgb.jpg", 3, "baseline JPEG, 4:4:4")
    image.save(out_dir / "rgb_420_progressive.jpg", quality=92, subsampling=2, progressive=True)
    add("rgb_420_progressive.jpg", 8, "progressive JPEG, 4:2:0")

    orientation = Image.Exif()
    orientation[0x0112] = 6
    image.save(out_dir / "exif_orientation_6.jpg", quality=92, subsampling=0, exif=orientation)
    add("exif_orientation_6.jpg", 3, "stored 48x36; to be turned by 90 degrees clockwise, so upright it is 36x48")
    with Image.open(out_dir / "exif_orientation_6.jpg") as stored:
        ImageOps.exif_transpose(stored).convert("RGB").save(out_dir / "exif_orientation_6_upright.png")
    add("exif_orientation_6_upright.png", 0, "the upright pixels of exif_orientation_6.jpg")

    grey16 = rgb16[..., 2]
    Image.fromarray(grey16).save(out_dir / "grey16.png")
    add("grey16.png", 0, "16-bit grey; round(v / 257)", grey_rgb(np.rint(grey16 / 257.0).astype(np.uint8)))
    Image.merge("LA", (Image.fromarray(rgb8[..., 1]), Image.fromarray(alpha))).save(out_dir / "grey_alpha.png")
    add("grey_alpha.png", 0, "8-bit grey with alpha; the alpha is dropped")
    Image.merge("RGBA", (*image.split(), Image.fromarray(alpha))).save(out_dir / "rgba.png")
    add("rgba.png", 0, "8-bit RGB with alpha; the alpha is dropped")
    image.quantize(16, dither=Image.Dither.NONE).save(out_dir / "palette.png", bits=4)
    add("palette.png", 0, "palette of 16 colours, 4 bits per pixel")

    cmyk = np.stack([255 - rgb8[..., 0], 255 - rgb8[..., 1], 255 - rgb8[..., 2], alpha // 3], axis=-1)
    Image.frombytes("CMYK", (48, 36), cmyk.tobytes()).save(out_dir / "cmyk.jpg", quality=92, subsampling=0)
    add("cmyk.jpg", 8, "CMYK JPEG with an Adobe marker (inverted values), no profile: R = (255 - C) * (255 - K) / 255")

    image.save(out_dir / "lzw.tiff", compression="tiff_lzw")
    add("lzw.tiff", 0, "8-bit RGB TIFF, LZW")
    (out_dir / "rgb16.tiff").write_bytes(tiff_rgb16(rgb16))
    add("rgb16.tiff", 0, "16-bit RGB TIFF, uncompressed; round(v / 257)", np.rint(rgb16 / 257.0).astype(np.uint8))
    image.save(out_dir / "lossless.webp", lossless=True)
    add("lossless.webp", 0, "lossless WebP")
    image.save(out_dir / "rgb.bmp")
    add("rgb.bmp", 0, "24-bit BMP")

    noise = np.random.default_rng(404).integers(0, 256, (36, 48, 3), dtype=np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(noise).save(encoded, format="JPEG", quality=90, subsampling=0)
    (out_dir / "truncated.jpg").write_bytes(encoded.getvalue()[: len(encoded.getvalue()) // 2])
    (out_dir / "text.jpg").write_text("This is a text file, not an image.\n")
    (out_dir / "empty.png").write_bytes(b"")
    notes = {
        "truncated.jpg": "48x36 JPEG that ends in the middle of its scan",
        "text.jpg": "a text file",
        "empty.png": "no bytes at all",
    }
    for name, note in notes.items():
        try:
            with Image.open(out_dir / name) as stored:
                stored.load()
        except OSError:
            expected[name] = {"decodes": False, "note": note}
        else:
            raise RuntimeError(f"{name} was expected not to decode")
    write_json(out_dir / "expected.json", expected, indent=1)


# ---------------------------------------------------------------------------------------------------------------------
# sine


def generate_sine(out_dir):
    """sine/sine.safetensors: the sine embedding of the decoder's reference boxes.

    `encode_sinusoidal_position_embedding(reference_points, num_pos_feats=d_model // 2)` of Transformers' RF-DETR,
    as RfDetrDecoder.get_reference calls it. `reference_points` (B=2, Q=7, 4) holds normalized (cx, cy, w, h), some of
    them 0, 1 or outside; `embedding_d128` and `embedding_d256` are (B, Q, 2 * d_model): the parts of cy, cx, w, h in
    this order, each d_model / 2 long with sine and cosine interleaved.
    """
    generator = torch.Generator().manual_seed(505)
    reference_points = torch.rand(2, 7, 4, generator=generator)
    reference_points[0, 0] = torch.tensor([0.0, 1.0, 0.5, 0.25])
    reference_points[0, 1] = torch.tensor([-0.125, 1.25, 0.001, 1.5])
    tensors = {"reference_points": reference_points}
    for d_model in (128, 256):
        tensors[f"embedding_d{d_model}"] = encode_sinusoidal_position_embedding(
            reference_points, num_pos_feats=d_model // 2
        )
    save_tensors(out_dir / "sine.safetensors", tensors, "sine embedding of reference boxes, Transformers RF-DETR")


# ---------------------------------------------------------------------------------------------------------------------
# msda


def generate_msda(out_dir):
    """msda/msda.safetensors: multi-scale deformable attention by grid_sample (bilinear, zeros, no corner alignment).

    spatial_shapes (L=2, 2) int32, (height, width) per level     value (B=2, S=9*7+4*5, H=3, D=8), levels one by one
    sampling_locations (B, Q=6, H, L, P=2, 2), normalized (x, y), some outside 0..1 and some on the border
    attention_weights (B, Q, H, L, P), softmax over L and P      output (B, Q, H * D)
    """
    generator = torch.Generator().manual_seed(606)
    batch, queries, heads, head_dim, points = 2, 6, 3, 8, 2
    shapes = [(9, 7), (4, 5)]
    tokens = sum(height * width for height, width in shapes)
    value = torch.randn(batch, tokens, heads, head_dim, generator=generator)
    locations = torch.rand(batch, queries, heads, len(shapes), points, 2, generator=generator) * 1.6 - 0.3
    locations[0, 0, 0, 0, 0] = torch.tensor([0.0, 0.0])
    locations[0, 0, 0, 0, 1] = torch.tensor([1.0, 1.0])
    locations[0, 0, 0, 1, 0] = torch.tensor([0.5 / 5, 0.5 / 4])  # the centre of a level's first cell
    locations[0, 0, 0, 1, 1] = torch.tensor([-4.0, 9.0])  # far outside
    weights = torch.randn(batch, queries, heads, len(shapes) * points, generator=generator)
    weights = weights.softmax(-1).view(batch, queries, heads, len(shapes), points)
    spatial_shapes = torch.tensor(shapes, dtype=torch.int64)
    level_starts = torch.cat([spatial_shapes.new_zeros(1), spatial_shapes.prod(1).cumsum(0)[:-1]])
    output = MultiScaleDeformableAttention()(
        value, spatial_shapes, shapes, level_starts, locations, weights, im2col_step=64
    )
    tensors = {
        "spatial_shapes": spatial_shapes.to(torch.int32),
        "value": value,
        "sampling_locations": locations,
        "attention_weights": weights,
        "output": output,
    }
    save_tensors(out_dir / "msda.safetensors", tensors, "multi-scale deformable attention, Transformers RF-DETR")


CASES = {
    "resize": generate_resize,
    "posembed": generate_posembed,
    "coco_eval": generate_coco_eval,
    "images": generate_images,
    "sine": generate_sine,
    "msda": generate_msda,
}


def main():
    """Generates every case, or those named by --only."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.only:
        folder = arguments.out_dir / name
        folder.mkdir(parents=True, exist_ok=True)
        with torch.no_grad():
            CASES[name](folder)
        print(f"{name}: {sum(f.stat().st_size for f in folder.iterdir())} bytes in {len(list(folder.iterdir()))} files")
    packages = ["numpy", "pillow", "torch", "transformers", "safetensors", "pycocotools"]
    write_json(arguments.out_dir / "versions.json", {p: importlib.metadata.version(p) for p in packages}, indent=1)


if __name__ == "__main__":
    main()
