"""Augmentation of a whole batch at once, on the GPU.

Throughout: images (B, 3, S, S) float in [0, 1]; boxes (B, M, 5) class + cxcywh; valid (B, M) bool, which rows count.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

SMALLEST_SIDE = 0.004  # of the image; thinner boxes are dropped
LEAST_VISIBLE = 0.35  # of a box's area; boxes cut further than this are dropped


@dataclass(frozen=True)
class Strength:
    """How far a batch is changed.

    zoom     range of magnification about a random object
    stretch  aspect ratio is changed by a factor in exp(-stretch) .. exp(stretch)
    turn     mirror up-down and transpose too, not just left-right (no up or down in the pictures)
    colour   jitter brightness, contrast, saturation, channels; sometimes grey, inverted or noisy
    splice   chance that an image is cut across, and that it is cut along: past a cut another picture shows
    background  chance that the window lies anywhere instead of about an object: it may show none
    """

    zoom: tuple[float, float]
    stretch: float
    turn: bool
    colour: bool
    splice: float
    background: float


def augment(images, boxes, valid, strength):
    """Apply everything; the result's M is the largest number of objects that any image of the batch still shows."""
    if strength.splice > 0:
        images, boxes, valid = splice(images, boxes, valid, strength.splice)
    images, boxes, valid = random_view(images, boxes, valid, strength)
    if strength.colour:
        images = jitter_colour(images)
    return images, *drop_empty_columns(boxes, valid)


def uniform(low, high, *shape, device):
    return low + (high - low) * torch.rand(*shape, device=device)


def random_view(images, boxes, valid, strength):
    """See each image through a random window, mostly around one of its objects, mirrored and transposed at random."""
    batch, device = len(images), images.device
    centre_x, centre_y = random_object_centres(boxes, valid)
    anywhere = torch.rand(batch, device=device) < strength.background
    centre_x = torch.where(anywhere, torch.rand(batch, device=device), centre_x)
    centre_y = torch.where(anywhere, torch.rand(batch, device=device), centre_y)

    # The window: its size and its top left corner, as fractions of the image. What lies outside the image is black:
    # mirrored content would show objects that have no box.
    zoom = torch.exp(uniform(math.log(strength.zoom[0]), math.log(strength.zoom[1]), batch, device=device))
    aspect = torch.exp(uniform(-strength.stretch, strength.stretch, batch, device=device))
    widest = 1 / strength.zoom[0]
    width, height = (1 / (zoom * aspect.sqrt())).clamp(max=widest), (aspect.sqrt() / zoom).clamp(max=widest)
    left = window_start(centre_x, width)
    top = window_start(centre_y, height)

    def coin():
        return torch.rand(batch, device=device) < 0.5

    mirror_x, mirror_y, transpose = coin(), coin() & strength.turn, coin() & strength.turn

    # Output pixel (u, v) in [-1, 1] shows input point matrix @ (u, v, 1).
    scale_x, scale_y = torch.where(mirror_x, -width, width), torch.where(mirror_y, -height, height)
    zero = torch.zeros_like(scale_x)
    matrix = torch.stack(
        [
            torch.where(transpose, zero, scale_x),
            torch.where(transpose, scale_x, zero),
            2 * left + width - 1,
            torch.where(transpose, scale_y, zero),
            torch.where(transpose, zero, scale_y),
            2 * top + height - 1,
        ],
        dim=1,
    ).view(batch, 2, 3)
    grid = F.affine_grid(matrix, images.shape, align_corners=False)
    images = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    label, x, y, w, h = boxes.unbind(-1)
    x, w = (x - left[:, None]) / width[:, None], w / width[:, None]
    y, h = (y - top[:, None]) / height[:, None], h / height[:, None]
    x = torch.where(mirror_x[:, None], 1 - x, x)
    y = torch.where(mirror_y[:, None], 1 - y, y)
    swap = transpose[:, None]
    x, y, w, h = torch.where(swap, y, x), torch.where(swap, x, y), torch.where(swap, h, w), torch.where(swap, w, h)
    return images, *clip_to(torch.stack([label, x, y, w, h], dim=-1), valid)


def random_object_centres(boxes, valid):
    """The centre of one random object an image -> x (B,), y (B,); of images that show none, the middle."""
    chosen = torch.multinomial(valid.float() + 1e-6, 1)[:, 0]
    centres = boxes[torch.arange(len(boxes), device=boxes.device), chosen, 1:3]
    centres = torch.where(valid.any(dim=1, keepdim=True), centres, 0.5)
    return centres.unbind(-1)


def window_start(centre, length):
    """Where a window (B,) starts that shows `centre` somewhere inside: within the image, or around it if larger."""
    start = centre - uniform(0.05, 0.95, len(centre), device=centre.device) * length
    slack = 1 - length
    return torch.minimum(torch.maximum(start, slack.clamp(max=0)), slack.clamp(min=0))


def clip_to(boxes, valid, left=0.0, top=0.0, right=1.0, bottom=1.0):
    """Cut boxes off at a rectangle (numbers or (B, 1) tensors) and drop those of which too little is left."""
    left, top, right, bottom = (torch.as_tensor(edge, device=boxes.device) for edge in (left, top, right, bottom))
    label, x, y, w, h = boxes.unbind(-1)
    x0, x1 = (torch.minimum(torch.maximum(edge, left), right) for edge in (x - w / 2, x + w / 2))
    y0, y1 = (torch.minimum(torch.maximum(edge, top), bottom) for edge in (y - h / 2, y + h / 2))
    visible = (x1 - x0) * (y1 - y0) / (w * h).clamp(min=1e-9)
    clipped = torch.stack([label, (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], dim=-1)
    large = (clipped[..., 3:] > SMALLEST_SIDE).all(dim=-1)
    return clipped, valid & large & (visible > LEAST_VISIBLE)


def splice(images, boxes, valid, chance):
    """Windows over a mosaic of the batch's pictures: each shows one, two side by side, or four that meet in a point.

    Pictures meet at their own borders, so what a cut halves has the label that its picture gave it there; what the
    window halves is clipped. The M of the result is four times as large.
    """
    batch, size, device = len(images), images.shape[-1], images.device
    cut_x, cut_y = (random_cuts(batch, size, chance, device) for _ in range(2))

    # Pixel and picture are the same function of the cut in all four pieces: what lies left of it is the end of its
    # picture, what lies right of it is the beginning of the next.
    along = torch.arange(size, device=device)
    x, y = (along - cut_x) % size, (along - cut_y) % size
    piece = (along >= cut_x).long()[:, None, :] + 2 * (along >= cut_y).long()[:, :, None]
    picture = (torch.arange(batch, device=device)[:, None, None] + piece) % batch
    spliced = images[picture, :, y[:, :, None], x[:, None, :]].permute(0, 3, 1, 2)

    pieces = []
    x, y = cut_x / size, cut_y / size
    for number in range(4):
        left, right, move_x = (x, 1.0, x) if number % 2 else (0.0, x, x - 1)
        top, bottom, move_y = (y, 1.0, y) if number // 2 else (0.0, y, y - 1)
        moved = boxes.roll(-number, dims=0).clone()
        moved[..., 1] += move_x
        moved[..., 2] += move_y
        pieces.append(clip_to(moved, valid.roll(-number, dims=0), left, top, right, bottom))
    return spliced, *(torch.cat(parts, dim=1) for parts in zip(*pieces))


def random_cuts(batch, size, chance, device):
    """Where pictures are cut, in pixels (batch, 1); 0 for those that are not."""
    cut = (uniform(0.1, 0.9, batch, 1, device=device) * size).long()
    return torch.where(torch.rand(batch, 1, device=device) < chance, cut, 0)


def jitter_colour(images):
    def per_image(low, high, channels=1):
        return uniform(low, high, len(images), channels, 1, 1, device=images.device)

    images = images * per_image(0.6, 1.4) + per_image(-0.1, 0.1)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    images = (images - mean) * per_image(0.6, 1.4) + mean
    grey = images.mean(dim=1, keepdim=True)
    images = grey + (images - grey) * per_image(0.0, 1.6)
    images = torch.where(per_image(0, 1) < 0.1, grey, images)
    images = torch.where(per_image(0, 1) < 0.05, 1 - images, images)
    images = images + per_image(-0.08, 0.08, channels=3)
    images = torch.where(per_image(0, 1) < 0.3, images + 0.03 * torch.randn_like(images), images)
    return images.clamp(0, 1)


def drop_empty_columns(boxes, valid):
    """Move each image's valid rows to the front and cut M to the most any image has (at least 1)."""
    most = max(1, int(valid.sum(dim=1).max()))
    front = torch.sort(valid.byte(), dim=1, descending=True, stable=True).indices[:, :most]
    return boxes.gather(1, front[..., None].expand(-1, -1, 5)), valid.gather(1, front)
